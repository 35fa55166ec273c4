import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bench.chaos.provider import Provider
from bench.chaos.scenario import schedule_of
from bench.chaos.schedule import Call, Status
from channels.whatsapp.inbound import normalise
from tests.eventually import eventually

SCHEDULE = schedule_of(1, 5, 1, calm=True)
SENDER = SCHEDULE.conversations[0].sender
READ = (Status("read", 0, copies=2),)
PATH = "/v26.0/1000/messages"


class Graph:
    """Takes every message, as the emulated Graph API does."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.taken.append(json.loads(await reader.readexactly(length)))
                body = json.dumps({"messages": [{"id": f"wamid.{len(self.taken)}"}]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        except asyncio.IncompleteReadError:
            writer.close()


@pytest.fixture
async def graph() -> AsyncIterator[Graph]:
    kept = Graph()
    server = await asyncio.start_server(kept.answer, "127.0.0.1", 0)
    kept.port = server.sockets[0].getsockname()[1]
    yield kept
    server.close()


class Told(list[bytes]):
    """The webhooks that were posted."""

    async def post(self, body: bytes) -> None:
        self.append(body)

    def statuses(self) -> list[str]:
        return [json.loads(body)["entry"][0]["changes"][0]["value"]["statuses"][0]["status"] for body in self]


async def made(graph: Graph, told: Told, *calls: Call) -> tuple[Provider, httpx.AsyncClient]:
    schedule = replace(SCHEDULE, calls=(calls, *SCHEDULE.calls[1:]))
    provider = Provider(schedule, f"http://127.0.0.1:{graph.port}", told.post)
    return provider, httpx.AsyncClient(base_url=f"http://127.0.0.1:{await provider.open()}")


async def send(client: httpx.AsyncClient, key: str = "k", to: str = SENDER) -> int | str:
    """One message; gives the status, or what went wrong."""
    try:
        answer = await client.post(PATH, json={"to": to, "type": "text", "biz_opaque_callback_data": key})
    except httpx.TransportError as error:
        return type(error).__name__
    return answer.status_code


async def test_the_calls_for_a_person_go_as_planned_in_their_order(graph: Graph) -> None:
    calls = (Call("unavailable", ()), Call("throttled", ()), Call("broken_off", ()), Call("answer_lost", READ))
    told = Told()
    provider, client = await made(graph, told, *calls)
    assert [await send(client) for _ in range(2)] == [503, 429]
    assert graph.taken == []
    assert [isinstance(await send(client), str) for _ in range(2)] == [True, True]
    assert [taken["to"] for taken in graph.taken] == [SENDER]
    assert await send(client) == 200
    assert len(graph.taken) == 2
    await client.aclose()
    await provider.close()


async def test_what_happens_to_one_person_does_not_depend_on_the_others(graph: Graph) -> None:
    provider, client = await made(graph, Told(), Call("unavailable", ()))
    assert await send(client, to="910000000000") == 200
    assert await send(client) == 503
    assert await send(client) == 200
    await client.aclose()
    await provider.close()


async def test_statuses_follow_with_the_correlation_as_often_as_planned(graph: Graph) -> None:
    told = Told()
    provider, client = await made(graph, told, Call("none", READ))
    await send(client, "the key")

    async def done() -> bool:
        return not provider.pending

    await eventually(done)
    assert told.statuses() == ["read", "read"]
    (routed,) = normalise(told[0])
    assert (routed.external_account_id, routed.event.kind) == ("1000", "status_changed")
    assert [(one.status, one.correlation) for one in provider.statuses] == [("read", "the key")]
    await client.aclose()
    await provider.close()


async def test_a_provider_that_takes_keys_gives_its_first_answer_again(graph: Graph) -> None:
    keyed = replace(SCHEDULE.conversations[0], keyed=True)
    schedule = replace(SCHEDULE, conversations=(keyed, *SCHEDULE.conversations[1:]), calls=SCHEDULE.calls)
    schedule = replace(schedule, calls=((Call("answer_lost", ()), Call("none", ())), *schedule.calls[1:]))
    provider = Provider(schedule, f"http://127.0.0.1:{graph.port}", Told().post)
    client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{await provider.open()}")
    assert isinstance(await send(client, "one"), str)
    assert [await send(client, key) for key in ("one", "two")] == [200, 200]
    assert [taken["biz_opaque_callback_data"] for taken in graph.taken] == ["one", "two"]
    assert provider.repeated_keys == 1
    await client.aclose()
    await provider.close()


async def test_a_sign_of_reading_goes_well_and_uses_up_no_call(graph: Graph) -> None:
    told = Told()
    provider, client = await made(graph, told, Call("unavailable", ()))
    answer = await client.post(PATH, json={"status": "read", "message_id": "wamid.x"})
    assert answer.status_code == 200
    assert await send(client) == 503
    assert told == []
    await client.aclose()
    await provider.close()


async def test_once_it_is_calm_everything_goes_well(graph: Graph) -> None:
    provider, client = await made(graph, Told(), Call("unavailable", ()), Call("broken_off", ()))
    provider.calm = True
    assert [await send(client) for _ in range(3)] == [200, 200, 200]
    await client.aclose()
    await provider.close()
