"""A tiny web server on 127.0.0.1 that keeps what it is sent and answers as it is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import h11

READ_BYTES = 65_536


@dataclass
class Received:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    def value(self) -> dict:
        return self.json()["entry"][0]["changes"][0]["value"]


@dataclass
class Receiver:
    """`answers` are the statuses of the next POSTs, 200 afterwards; `on_post` may act on each that is answered 200."""

    port: int = 0
    verify_token: str = "verify-me"
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    on_post: Callable[[Received], Awaitable[None]] | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/whatsapp/acc_1"

    async def until(self, holds: Callable[[list[Received]], bool]) -> list[Received]:
        """Wait for the requests to fulfil a condition."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: holds(self.received))
        return self.received

    async def statuses(self, count: int, correlation: str | None = None) -> list[dict]:
        """The first `count` status objects that arrive; only those with `correlation` where it is given."""

        def arrived() -> list[dict]:
            all_ = [status for one in self.received for status in one.value().get("statuses", [])]
            return [one for one in all_ if correlation in (None, one.get("biz_opaque_callback_data"))]

        await self.until(lambda _: len(arrived()) >= count)
        return arrived()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            while (request := await _next_request(connection, reader)) is not None:
                status, body = self._answer(request)
                headers = [("content-length", str(len(body)))]
                writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
                writer.write(
                    (connection.send(h11.Data(data=body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
                )
                await writer.drain()
                await self._keep(request, status)
                connection.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, request: Received) -> tuple[int, bytes]:
        if request.method == "GET":
            query = parse_qs(urlsplit(request.target).query)
            if query.get("hub.verify_token") != [self.verify_token]:
                return 403, b"wrong token"
            return 200, query["hub.challenge"][0].encode()
        return (self.answers.pop(0) if self.answers else 200), b""

    async def _keep(self, request: Received, status: int) -> None:
        async with self.changed:
            self.received.append(request)
            self.changed.notify_all()
        if request.method == "POST" and status == 200 and self.on_post is not None:
            await self.on_post(request)


async def _next_request(connection: h11.Connection, reader: asyncio.StreamReader) -> Received | None:
    request, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            chunk = await reader.read(READ_BYTES)
            if not chunk and request is None:
                return None
            connection.receive_data(chunk)
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            request = Received(event.method.decode(), event.target.decode(), headers, b"")
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            request.body = bytes(body)
            return request
        else:
            return None


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver that listens, until the block ends."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
