"""A little service on 127.0.0.1 that acts once per `Idempotency-Key`, and counts how often it was asked and acted.

`POST /acts` acts; with a known key it gives the first answer again, or 409 if the body is another. Without a key it
acts each time. `GET /acts/<reference>` tells whether anything was done under a reference.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.eventually import eventually


@dataclass(slots=True)
class ActingService:
    """What the service did, and what it is told to do wrong."""

    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)
    #: By key, or by reference where no key was given.
    acts: Counter[str] = field(default_factory=Counter)
    #: How many of the next answers are lost after the act.
    lose_answers: int = 0
    #: The status with which the next requests are refused without acting; 0 for none.
    refuse_with: int = 0
    #: While it is clear, what was done is not answered.
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    #: How many acts wait to be answered.
    waiting: int = 0
    _records: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)

    async def acts_wait(self, number: int) -> None:
        """Return once so many acts wait to be answered."""

        async def they_do() -> bool:
            return self.waiting == number

        await eventually(they_do)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        try:
            status, answer = await self._take(reader)
            if status:
                body = json.dumps(answer).encode()
                writer.write(
                    b"HTTP/1.1 %d -\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller is dead
        finally:
            writer.close()

    async def _take(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        method, path, _ = head[0].split(" ")
        if method == "GET":
            record = self._records.get(path.removeprefix("/acts/"))
            return (200, record[1]) if record else (404, {})
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        return await self._act(headers.get("idempotency-key"), body)

    async def _act(self, key: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = key or body["reference"]
        self.requests[name] += 1
        if self.refuse_with:
            return self.refuse_with, {}
        if key in self._records:
            recorded_body, answer = self._records[key]
            return (200, answer) if recorded_body == body else (409, {})
        self.acts[name] += 1
        answer = {"act": f"act_{self.acts.total()}", "reference": body["reference"]}
        self._records[name] = (body, answer)
        if self.lose_answers:
            self.lose_answers -= 1
            return 0, {}
        if not self.answering.is_set():
            self.waiting += 1
            await self.answering.wait()
        return 200, answer


@asynccontextmanager
async def acting_service() -> AsyncIterator[ActingService]:
    """The service, until the block ends."""
    service = ActingService()
    service.answering.set()
    server = await asyncio.start_server(service.answer, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        service.answering.set()
        server.close()
        await server.wait_closed()
