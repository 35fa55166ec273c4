"""The provider as the schedule wants it: an HTTP proxy before the emulated Graph API.

The emulator checks, accepts and logs; what becomes of each call and which statuses follow is decided here, by the
person it is for and how many calls there were for them before. Nothing here depends on which worker calls when.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from bench.chaos.bodies import change, envelope
from bench.chaos.fault_proxy import HOST, abort
from bench.chaos.schedule import DEFAULT_CALL, Call, Schedule, Status

#: Graph's errors for a definite no: out of service, and too many calls.
REFUSALS = {"unavailable": (503, 131016, {}), "throttled": (429, 130429, {"retry-after": "1"})}
#: How long a call that is never answered stays open if the caller never hangs up.
SILENT_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class StatusPosted:
    """A status webhook that was acknowledged."""

    provider_message_id: str
    status: str
    correlation: str
    #: Monotonic seconds.
    acknowledged_at: float


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Provider:
    """One server. `post` posts a webhook until it is acknowledged."""

    def __init__(self, schedule: Schedule, emulator_url: str, post: Callable[[bytes], Awaitable[None]]) -> None:
        self._of_sender = {one.sender: number for number, one in enumerate(schedule.conversations)}
        self._calls = schedule.calls
        self._emulator = httpx.AsyncClient(base_url=emulator_url, timeout=30)
        self._post = post
        self._made: Counter[str] = Counter()
        self._keyed = {one.sender for one in schedule.conversations if one.keyed}
        self._first_answers: dict[str, httpx.Response] = {}
        self._server: asyncio.Server | None = None
        self._telling: set[asyncio.Task[None]] = set()
        #: How many calls went in which way.
        self.faults: Counter[str] = Counter()
        self.statuses: list[StatusPosted] = []
        #: How many calls came again under a key whose message was taken already.
        self.repeated_keys = 0
        #: From now on every call goes well.
        self.calm = False

    @property
    def pending(self) -> int:
        """How many statuses are still to be told."""
        return len(self._telling)

    async def open(self) -> int:
        """Listen; gives the port."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        return self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop; what is still to be told is not."""
        if self._server is not None:
            self._server.close()
        for task in self._telling:
            task.cancel()
        await self._emulator.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while await self._answer(await _read(reader), reader, writer):
                pass
        writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request as planned; gives whether the connection stays open."""
        asked = json.loads(request.body)
        call = self._call(asked)
        self.faults[call.fault] += 1
        match call.fault:
            case "unavailable" | "throttled":
                status, code, headers = REFUSALS[call.fault]
                error = {"message": call.fault, "type": "OAuthException", "code": code}
                await _write(writer, status, json.dumps({"error": error}).encode(), headers)
                return True
            case "broken_off":
                abort(writer)
                return False
            case "silent":
                await _until_gone(reader)
                return False
            case "none" | "answer_lost" | "answer_late":
                answer = await self._take(request, asked, call)
        if call.fault == "answer_lost":
            abort(writer)
            return False
        await asyncio.sleep(call.delay_ms / 1000)
        await _write(writer, answer.status_code, answer.content, {})
        return True

    def _call(self, asked: dict[str, Any]) -> Call:  # Any: a request's JSON
        """How this call goes. Signs of reading always go well, and tell nothing."""
        recipient = asked.get("to")
        if recipient is None:
            return Call("none", ())
        place = self._made[recipient]
        self._made[recipient] += 1
        conversation = self._of_sender.get(recipient)
        planned = () if conversation is None or self.calm else self._calls[conversation]
        return planned[place] if place < len(planned) else DEFAULT_CALL

    async def _take(self, request: Request, asked: dict[str, Any], call: Call) -> httpx.Response:  # Any: as above
        """Take a message, or give the first answer again where a provider that takes keys has it already."""
        key = asked.get("biz_opaque_callback_data", "")
        first = self._first_answers.get(key)
        if first is not None:
            self.repeated_keys += 1
            return first
        answer = await self._forward(request)
        if answer.is_success and asked.get("to") in self._keyed:
            self._first_answers[key] = answer
        self._tell_statuses(asked, answer, call)
        return answer

    async def _forward(self, request: Request) -> httpx.Response:
        kept = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        return await self._emulator.post(request.path, content=request.body, headers=kept)

    def _tell_statuses(
        self,
        asked: dict[str, Any],
        answer: httpx.Response,
        call: Call,  # Any: a request's JSON
    ) -> None:
        if not answer.is_success or "to" not in asked:
            return
        provider_message_id: str = answer.json()["messages"][0]["id"]
        phone_number_id = answer.request.url.path.split("/")[2]
        for status in call.statuses:
            whole = {
                "id": provider_message_id,
                "status": status.name,
                "timestamp": str(int(time.time())),
                "recipient_id": asked["to"],
                "biz_opaque_callback_data": asked["biz_opaque_callback_data"],
            }
            body = envelope([change(phone_number_id, {"statuses": [whole]})])
            task = asyncio.create_task(self._tell(status, body, whole))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, status: Status, body: bytes, whole: dict[str, str]) -> None:
        await asyncio.sleep(status.delay_ms / 1000)
        await asyncio.gather(*(self._post(body) for _ in range(status.copies)))
        self.statuses.append(
            StatusPosted(whole["id"], whole["status"], whole["biz_opaque_callback_data"], time.monotonic())
        )


async def _read(reader: asyncio.StreamReader) -> Request:
    """One request with a content length.

    Raises:
        IncompleteReadError: the caller closed the connection.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(first.split(" ")[1], headers, body)


async def _write(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    writer.write(head.encode("latin-1") + body)
    await writer.drain()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(SILENT_S_MAX):
            await reader.read()
