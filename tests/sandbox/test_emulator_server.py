"""The emulator behind its real server: failures on the wire, and the stream of events."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.sandbox.emulated import NUMBER, PRIYA, SEND, Emulated, eventually, served


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Emulated]:
    async with served(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
async def emulator(server: Emulated) -> AsyncIterator[Emulated]:
    yield server
    await server.client.delete("/sandbox/faults")
    await server.client.delete("/sandbox/sent")
    server.product.received.clear()


async def fault(emulator: Emulated, **fields: object) -> None:
    answer = await emulator.client.put("/sandbox/faults", json=fields)
    assert answer.status_code == 200, answer.text


async def sent_texts(emulator: Emulated) -> list[str]:
    return [one["text"] for one in (await emulator.client.get("/sandbox/sent")).json()["items"]]


async def test_an_error_on_demand_carries_its_code_status_and_retry_after(emulator: Emulated) -> None:
    await fault(emulator, kind="error", code=130429, http_status=429, retry_after=7, details="too fast", next=2)
    for _ in range(2):
        answer = await emulator.send(text="Hello")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
        error = answer.json()["error"]
        assert (error["code"], error["message"]) == (130429, "(#130429) Rate limit hit")
        assert error["error_data"]["details"] == "too fast"
    assert (await emulator.send(text="Hello again")).status_code == 200
    assert await sent_texts(emulator) == ["Hello again"]


async def test_a_message_is_taken_although_the_answer_never_comes(emulator: Emulated) -> None:
    await fault(emulator, kind="timeout_after_accept")
    with pytest.raises(httpx.ReadTimeout):
        await emulator.send(text="Lost", biz_opaque_callback_data="effect-lost", timeout_s=0.5)
    statuses = await emulator.product.statuses(3, "effect-lost")
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    listed = (await emulator.client.get("/sandbox/sent")).json()["items"]
    assert [(one["text"], one["answered"]) for one in listed] == [("Lost", False)]


async def test_a_timeout_can_come_without_the_message_being_taken(emulator: Emulated) -> None:
    await fault(emulator, kind="timeout")
    with pytest.raises(httpx.ReadTimeout):
        await emulator.send(text="Lost", timeout_s=0.5)
    assert await sent_texts(emulator) == []


@pytest.mark.parametrize("accept", [False, True])
async def test_a_connection_breaks_off_inside_the_answer(emulator: Emulated, accept: bool) -> None:
    await fault(emulator, kind="reset", accept=accept)
    with pytest.raises(httpx.RemoteProtocolError):
        await emulator.send(text="Broken")
    assert await sent_texts(emulator) == (["Broken"] if accept else [])


async def test_a_bare_500_has_no_graph_body(emulator: Emulated) -> None:
    await fault(emulator, kind="http_500")
    answer = await emulator.send(text="Hello")
    assert answer.status_code == 500
    assert "error" not in answer.text


async def test_statuses_can_overtake_the_answer(emulator: Emulated) -> None:
    await fault(emulator, kind="delay", ms=60_000)
    sending = asyncio.create_task(emulator.send(text="Slow", biz_opaque_callback_data="effect-slow", timeout_s=60))
    assert len(await emulator.product.statuses(3, "effect-slow")) == 3
    assert not sending.done()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)


async def test_a_failed_status_takes_the_place_of_the_others(emulator: Emulated) -> None:
    await fault(emulator, kind="status_failed", code=131047)
    assert (await emulator.send(text="Too late", biz_opaque_callback_data="effect-late")).status_code == 200
    (status,) = await emulator.product.statuses(1, "effect-late")
    assert (status["status"], status["errors"][0]["code"]) == ("failed", 131047)
    assert status["errors"][0]["title"] == "Re-engagement message"


async def test_a_fault_of_a_wrong_kind_is_refused(emulator: Emulated) -> None:
    answer = await emulator.client.put("/sandbox/faults", json={"kind": "sulk"})
    assert answer.status_code == 400
    assert "kind" in answer.json()["detail"]


async def test_the_stream_tells_of_messages_ticks_and_typing(emulator: Emulated) -> None:
    after = (await emulator.client.get("/sandbox/state")).json()["last_event_id"]
    done = await emulator.act(text="Hello")
    mark = {"status": "read", "message_id": done["id"], "typing_indicator": {"type": "text"}}
    await emulator.product.until(lambda all_: len(all_) == 1)
    await emulator.client.post(SEND, json={"messaging_product": "whatsapp", **mark})
    seen: list[tuple[str, str | None]] = []
    query = {"customer": PRIYA, "after": after}
    async with emulator.client.stream("GET", "/sandbox/events", params=query) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                seen.append((name, json.loads(line.removeprefix("data: ")).get("tick")))
                if name == "typing":
                    break
    assert seen[0][0] == "message"
    assert seen[-2:] == [("message", "read"), ("typing", None)]


async def test_a_stream_of_nobody_is_refused(emulator: Emulated) -> None:
    answer = await emulator.client.get("/sandbox/events", params={"customer": "nobody"})
    assert answer.status_code == 404


async def test_an_open_page_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with served(tmp_path) as running:
        stream = running.client.stream("GET", "/sandbox/events", params={"customer": PRIYA}, timeout=30)
        await stream.__aenter__()
    log = (tmp_path / "emulator.log").read_text()
    assert "Shutting down granian" in log


async def test_a_customers_message_counts_as_delivered_once_the_product_took_it(emulator: Emulated) -> None:
    done = await emulator.act(text="Hello")

    async def ticks() -> list[str]:
        answer = await emulator.client.get("/sandbox/state", params={"customer": PRIYA, "business": NUMBER})
        return [m["tick"] for m in answer.json()["transcript"] if m["id"] == done["id"] and m["tick"] == "delivered"]

    assert await eventually(ticks) == ["delivered"]
