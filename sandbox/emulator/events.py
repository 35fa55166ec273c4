"""What happens on the phones, as a stream: changed messages and typing, to every page that watches a customer.

The last events are kept, so a page that lost its connection goes on where it was. Where that is no longer possible
it gets `reset` and reads the transcript again. An event carries the object as it is when it is sent, not as it was.
"""

import asyncio
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from core.errors import Overloaded

EVENTS_KEPT_MAX = 4000
WATCHERS_MAX = 64
WATCHER_EVENTS_MAX = 500
KEEP_ALIVE_S = 10.0
#: A stream ends by itself and the page comes back at once: a server that stops waits for open answers.
STREAM_LIFE_S = 25.0
RECONNECT_MS = 250

EventName: TypeAlias = Literal["message", "typing", "reset"]


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """One thing that a customer's page shows. `payload` gives its JSON-like value when it is sent."""

    number: int
    customer_id: str
    name: EventName
    payload: Callable[[], dict[str, object]]


@dataclass(slots=True, eq=False)
class Watcher:
    """One open page."""

    customer_id: str
    queue: asyncio.Queue[PhoneEvent] = field(default_factory=lambda: asyncio.Queue(WATCHER_EVENTS_MAX))
    overflowed: bool = False


class EventStream:
    """Keeps the last events and hands each to the pages that watch its customer."""

    def __init__(self) -> None:
        self._life = secrets.token_hex(4)
        self._number = 0
        self._kept: deque[PhoneEvent] = deque(maxlen=EVENTS_KEPT_MAX)
        self._watchers: set[Watcher] = set()

    @property
    def last_id(self) -> str:
        """The id of the newest event; a stream opened after it misses nothing."""
        return self._id(self._number)

    def publish(self, customer_id: str, name: EventName, payload: Callable[[], dict[str, object]]) -> None:
        """Record one event and wake the pages it is for."""
        self._number += 1
        event = PhoneEvent(self._number, customer_id, name, payload)
        self._kept.append(event)
        for watcher in self._watchers:
            if watcher.customer_id != customer_id:
                continue
            try:
                watcher.queue.put_nowait(event)
            except asyncio.QueueFull:
                watcher.overflowed = True

    def start_over(self) -> None:
        """Let every open page, and every page that comes back, read its state again."""
        self._life = secrets.token_hex(4)
        self._kept.clear()
        for watcher in self._watchers:
            _drain(watcher)
            watcher.queue.put_nowait(self._reset_event())

    def stream(self, customer_id: str, after: str | None) -> AsyncGenerator[bytes]:
        """Server-sent events for one page: what it missed since `after`, then what happens.

        Raises:
            Overloaded: too many pages are open.
        """
        if len(self._watchers) >= WATCHERS_MAX:
            raise Overloaded(f"{WATCHERS_MAX} pages are open already; close one")
        return self._frames(customer_id, after)

    async def _frames(self, customer_id: str, after: str | None) -> AsyncGenerator[bytes]:
        watcher = Watcher(customer_id)
        self._watchers.add(watcher)
        try:
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            for frame in self._missed(customer_id, after):
                yield frame
            end_at = asyncio.get_running_loop().time() + STREAM_LIFE_S
            while (left_s := end_at - asyncio.get_running_loop().time()) > 0:
                yield await self._next_frame(watcher, min(KEEP_ALIVE_S, left_s))
        finally:
            self._watchers.discard(watcher)

    async def _next_frame(self, watcher: Watcher, wait_s: float) -> bytes:
        if watcher.overflowed:
            watcher.overflowed = False
            _drain(watcher)
            return self._frame(self._reset_event())
        try:
            async with asyncio.timeout(wait_s):
                return self._frame(await watcher.queue.get())
        except TimeoutError:
            return b": keep-alive\n\n"

    def _missed(self, customer_id: str, after: str | None) -> list[bytes]:
        if not after:
            return []
        life, _, text = after.partition("-")
        number = int(text) if text.isascii() and text.isdigit() else -1
        oldest = self._kept[0].number if self._kept else self._number + 1
        if life != self._life or number > self._number or number < oldest - 1:
            return [self._frame(self._reset_event())]
        return [self._frame(e) for e in self._kept if e.number > number and e.customer_id == customer_id]

    def _reset_event(self) -> PhoneEvent:
        return PhoneEvent(self._number, "", "reset", dict)

    def _frame(self, event: PhoneEvent) -> bytes:
        body = json.dumps(event.payload(), ensure_ascii=False)
        return f"id: {self._id(event.number)}\nevent: {event.name}\ndata: {body}\n\n".encode()

    def _id(self, number: int) -> str:
        return f"{self._life}-{number}"


def _drain(watcher: Watcher) -> None:
    while not watcher.queue.empty():
        watcher.queue.get_nowait()
