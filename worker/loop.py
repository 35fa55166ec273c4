"""The loop of a worker process: stages that claim what is due and run it, until they are told to stop.

A stage looks for work when it is woken and at least once each `poll_s`, so a bell that never rings costs a second and
nothing else. Neither an item that fails nor a database that goes away ends the loop.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from core.log import logger
from db.transactions import DatabaseUnavailable

log = logger(__name__)

POLL_S = 1.0
#: Waits after claims that failed, one after the other; the last one repeats.
FAILURE_DELAYS_S = (0.2, 0.5, 1.0)
#: A stage that has not looked for work for this long is not at work.
FRESH_S = 5.0
PULSE_S = 1.0
#: A look that comes a little too early finds nothing, and the next one is a whole poll away.
DUE_MARGIN_S = 0.002
#: How long a stopping loop waits for claims that are under way.
CLAIMS_END_S = 2.0
#: How long it may take to hand back what did not end in time.
RELEASE_S = 2.0


def nothing() -> None:
    """Ask nothing of an item: it is short."""


@dataclass(eq=False, slots=True)
class Work:
    """One claimed item. `run` raises nothing that the item itself may do."""

    run: Callable[[], Coroutine[Any, Any, None]]
    #: What the stage claimed; handed to its `keep` and `release`.
    claim: Any = None
    #: Asks the item to come to an end soon.
    drain: Callable[[], None] = nothing


Claim: TypeAlias = Callable[[int, "WorkLoop"], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One kind of work.

    `claim` gets how many items there is room for, begins those that it claims on the loop it is given, and gives how
    many it claimed; a stage that does its work within `claim` begins none. A claim that fills the room is followed by
    another at once.
    """

    name: str
    claim: Claim
    at_once_max: int = 1
    poll_s: float = POLL_S
    #: Whether a claim that found less than there was room for may have left some behind.
    leaves_some: bool = False
    #: Whether an item that ends may leave more work of this stage behind.
    woken_by_ends: bool = False
    #: In how many seconds the next item is due; asked after `wake`, for what woke the stage may be due a little later,
    #: and once each `poll_s`, for what others hold may become free.
    due_in_s: Callable[[], Awaitable[float | None]] | None = None
    #: Renews the leases of what runs, every `keep_every_s`.
    keep: Callable[[Sequence[Any]], Awaitable[object]] | None = None
    keep_every_s: float = 1.0
    #: Hands back what did not end in time, so that another process takes it up at once.
    release: Callable[[Any], Awaitable[None]] | None = None


@dataclass(eq=False, slots=True)
class _Seat:
    """A stage and its present state."""

    stage: Stage
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    #: Whether `wake` was called since the last look.
    has_news: bool = False
    #: When the next item is due, by the loop's clock, as far as is known; and when that was asked.
    due_at: float = float("inf")
    asked_at: float = float("-inf")
    running: dict[asyncio.Task[None], Work] = field(default_factory=dict[asyncio.Task[None], Work])
    looked_at: float = float("-inf")
    failures: int = 0

    @property
    def room(self) -> int:
        return max(self.stage.at_once_max - len(self.running), 0)


class WorkLoop:
    """Runs stages side by side within one event loop. `polled` is called about once a second while all of them look."""

    def __init__(self, stages: Sequence[Stage], *, drain_s: float, polled: Callable[[], None]) -> None:
        self._seats = {stage.name: _Seat(stage) for stage in stages}
        self._drain_s = drain_s
        self._polled = polled
        self._stopping = asyncio.Event()

    def wake(self, stage: str) -> None:
        """Have a stage look for work now; nothing happens if it is not one of ours."""
        if seat := self._seats.get(stage):
            seat.has_news = True
            seat.woken.set()

    def begin(self, stage: str, work: Work) -> None:
        """Run an item beside the others of its stage. Its place counts, but it is never refused."""
        seat = self._seats[stage]
        task = asyncio.get_running_loop().create_task(work.run(), name=stage)
        seat.running[task] = work
        task.add_done_callback(lambda ended: self._ended(seat, ended))

    def stop(self) -> None:
        """Claim nothing more, let what runs come to an end, and let `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop` is called and all has ended or was handed back."""
        loop = asyncio.get_running_loop()
        drivers = [loop.create_task(self._drive(seat), name=f"drive {name}") for name, seat in self._seats.items()]
        keepers = [loop.create_task(self._keep(seat)) for seat in self._seats.values() if seat.stage.keep]
        pulse = loop.create_task(self._pulse())
        try:
            await self._stopping.wait()
            pulse.cancel()
            for seat in self._seats.values():
                seat.woken.set()
            await asyncio.wait(drivers, timeout=CLAIMS_END_S)
            await self._drain()
        finally:
            for task in (*drivers, *keepers, pulse):
                task.cancel()
            await asyncio.gather(*drivers, *keepers, pulse, return_exceptions=True)

    async def _drive(self, seat: _Seat) -> None:
        while not self._stopping.is_set():
            seat.woken.clear()
            room = seat.room
            claimed = await self._claim(seat, room)
            if claimed is None:
                await self._pause(seat)
            elif not claimed or (claimed < room and not seat.stage.leaves_some):
                await _wait(seat.woken, await self._idle_s(seat))

    async def _claim(self, seat: _Seat, room: int) -> int | None:
        """Claim what there is room for; None where that failed. An outage is told once, when it begins."""
        try:
            claimed = await seat.stage.claim(room, self) if room else 0
        except DatabaseUnavailable as error:
            if not seat.failures:
                log.warning("stage_waits", stage=seat.stage.name, error=error.message)
        except Exception:  # the edge of the loop: whatever it was, there is more to do
            log.exception("stage_failed", stage=seat.stage.name)
        else:
            if seat.failures:
                log.info("stage_recovered", stage=seat.stage.name, failures=seat.failures)
            seat.failures = 0
            seat.looked_at = asyncio.get_running_loop().time()
            return claimed
        seat.failures += 1
        return None

    async def _pause(self, seat: _Seat) -> None:
        delay_s = FAILURE_DELAYS_S[min(seat.failures, len(FAILURE_DELAYS_S)) - 1]
        await _wait(self._stopping, delay_s)

    async def _idle_s(self, seat: _Seat) -> float:
        """How long there is nothing to do unless the stage is woken."""
        clock = asyncio.get_running_loop().time
        stale = clock() - seat.asked_at >= seat.stage.poll_s
        if (seat.has_news or stale) and seat.stage.due_in_s is not None:
            seat.has_news, seat.asked_at = False, clock()
            with suppress(DatabaseUnavailable):
                due_in_s = await seat.stage.due_in_s()
                seat.due_at = float("inf") if due_in_s is None else clock() + due_in_s + DUE_MARGIN_S
        left_s = seat.due_at - clock()
        return min(seat.stage.poll_s, left_s) if left_s > 0 else seat.stage.poll_s

    def _ended(self, seat: _Seat, task: asyncio.Task[None]) -> None:
        was_full = not seat.room
        del seat.running[task]
        if was_full or seat.stage.woken_by_ends:
            seat.woken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("work_failed", stage=seat.stage.name, exc_info=error)

    async def _keep(self, seat: _Seat) -> None:
        assert seat.stage.keep is not None
        while True:
            await asyncio.sleep(seat.stage.keep_every_s)
            claims = [work.claim for work in seat.running.values()]
            if not claims:
                continue
            try:
                await seat.stage.keep(claims)
            except DatabaseUnavailable as error:
                log.warning("leases_not_kept", stage=seat.stage.name, error=error.message)

    async def _pulse(self) -> None:
        while True:
            now = asyncio.get_running_loop().time()
            if all(now - seat.looked_at < FRESH_S + seat.stage.poll_s for seat in self._seats.values()):
                self._polled()
            await asyncio.sleep(PULSE_S)

    async def _drain(self) -> None:
        """Ask what runs to end, wait, and hand back the rest. What ends may begin more: its replies still leave."""
        deadline = asyncio.get_running_loop().time() + self._drain_s
        for work in self._works():
            work.drain()
        log.info("loop_drains", works=len(self._works()), drain_s=self._drain_s)
        while tasks := self._tasks():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        await self._hand_back()

    async def _hand_back(self) -> None:
        left = [(seat.stage, work) for seat in self._seats.values() for work in seat.running.values()]
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await asyncio.gather(*tasks, return_exceptions=True)
                for stage, work in left:
                    await self._release(stage, work)

    async def _release(self, stage: Stage, work: Work) -> None:
        log.warning("work_not_ended", stage=stage.name, claim=str(work.claim))
        if stage.release is None or work.claim is None:
            return
        try:
            await stage.release(work.claim)
        except DatabaseUnavailable as error:
            log.warning("work_not_released", stage=stage.name, error=error.message)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [task for seat in self._seats.values() for task in seat.running]

    def _works(self) -> list[Work]:
        return [work for seat in self._seats.values() for work in seat.running.values()]


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
