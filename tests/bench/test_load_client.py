import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import AsyncIterator

import pytest

from bench.load_client import drive, report, signed_requests


class Received:
    """A server that keeps what it was sent and answers in two pieces."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append((head, await reader.readexactly(length)))
                status = b"503 Service Unavailable" if len(self.requests) % 5 == 0 else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n")
                await writer.drain()
                await asyncio.sleep(0)
                writer.write(b"\r\nbody")
        except asyncio.IncompleteReadError:
            writer.close()


@pytest.fixture
async def received() -> AsyncIterator[Received]:
    kept = Received()
    server = await asyncio.start_server(kept.answer, "127.0.0.1", 0)
    kept.port = server.sockets[0].getsockname()[1]
    yield kept
    server.close()


async def test_every_answer_is_counted_by_its_status(received: Received) -> None:
    requests = signed_requests(path="/webhooks/x", host="h", secret=b"s", mark="m")
    load = await drive(requests, port=received.port, connections=3, seconds=0.2)
    result = report(load)
    assert result["answers"] == len(received.requests) == sum(load.statuses.values())
    assert load.statuses[503] == len(received.requests) // 5
    assert json.loads(json.dumps(result)) == result


async def test_requests_are_signed_webhooks_each_with_an_id_of_its_own(received: Received) -> None:
    requests = signed_requests(path="/webhooks/x", host="h", secret=b"s", mark="m")
    await drive(requests, port=received.port, connections=2, seconds=0.1)
    ids: set[str] = set()
    for head, body in received.requests:
        assert head.startswith(b"POST /webhooks/x HTTP/1.1\r\n")
        assert hmac.new(b"s", body, hashlib.sha256).hexdigest().encode() in head
        ids.add(json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"])
        assert 500 <= len(body) <= 600
    assert len(ids) == len(received.requests)


def test_ids_go_on_beyond_what_was_signed_beforehand() -> None:
    requests = signed_requests(path="/", host="h", secret=b"s", mark="m")
    made = list(itertools.islice(requests, 4_500))
    assert len(set(made)) == 4_500
