import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from core.ids import TenantId, new_id
from db.pools import Database
from db.transactions import DatabaseUnavailable, queue_tx
from inbox.jobs import Job, claim_jobs, run_job
from tests.eventually import eventually
from tests.inbox.test_jobs import Desk
from tests.outbox.outage import an_outage
from worker.loop import Stage, Work, WorkLoop

NEVER_S = 3600.0


class Bench:
    """A stage of numbered items whose work ends when the test says so."""

    def __init__(self, waiting: int = 0) -> None:
        self.waiting = waiting
        self.asked: list[int] = []
        self.begun = 0
        self.ended = 0
        self.running_max = 0
        self.drained = 0
        self.released: list[int] = []
        self.kept: list[list[int]] = []
        self.end = asyncio.Event()

    async def claim(self, room: int, loop: WorkLoop) -> int:
        self.asked.append(room)
        taken = min(room, self.waiting)
        self.waiting -= taken
        for _ in range(taken):
            self.begun += 1
            loop.begin("bench", Work(self.item, self.begun, self.drain))
        self.running_max = max(self.running_max, self.begun - self.ended)
        return taken

    async def item(self) -> None:
        await self.end.wait()
        self.ended += 1

    def drain(self) -> None:
        self.drained += 1

    async def keep(self, claims: Any) -> None:
        self.kept.append(list(claims))

    async def release(self, claim: int) -> None:
        self.released.append(claim)

    def stage(self, **changes: Any) -> Stage:
        usual = Stage(name="bench", claim=self.claim, at_once_max=2, poll_s=NEVER_S, release=self.release)
        return replace(usual, **changes)


@asynccontextmanager
async def at_work(*stages: Stage, drain_s: float = 5.0) -> AsyncGenerator[WorkLoop]:
    """A loop that works within the block and is drained at its end."""
    loop = WorkLoop(stages, drain_s=drain_s, polled=lambda: None)
    running = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        loop.stop()
        await running


def holds(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        return condition()

    return asked


async def test_a_stage_runs_no_more_at_once_than_it_may_and_goes_on_when_one_ends() -> None:
    bench = Bench(waiting=5)
    async with at_work(bench.stage()):
        await eventually(holds(lambda: bench.begun == 2))
        bench.end.set()
        await eventually(holds(lambda: bench.ended == 5))
    assert bench.running_max == 2


async def test_a_stage_looks_at_once_when_it_is_woken() -> None:
    bench = Bench()
    bench.end.set()
    async with at_work(bench.stage()) as loop:
        await eventually(holds(lambda: len(bench.asked) == 1))
        bench.waiting = 1
        loop.wake("bench")
        await eventually(holds(lambda: bench.ended == 1))


async def test_a_stage_looks_by_itself_when_nobody_rings() -> None:
    bench = Bench()
    bench.end.set()
    async with at_work(bench.stage(poll_s=0.01)):
        await eventually(holds(lambda: len(bench.asked) >= 3))
        bench.waiting = 1
        await eventually(holds(lambda: bench.ended == 1))


async def test_a_bell_for_a_stage_of_another_lane_is_not_ours() -> None:
    async with at_work(Bench().stage()) as loop:
        loop.wake("no such stage")


async def test_a_woken_stage_that_finds_nothing_comes_back_when_the_next_item_is_due() -> None:
    bench = Bench()
    bench.end.set()

    async def due_in_s() -> float | None:
        bench.waiting = 1
        return 0.01

    async with at_work(bench.stage(due_in_s=due_in_s)) as loop:
        await eventually(holds(lambda: len(bench.asked) >= 1))
        loop.wake("bench")
        await eventually(holds(lambda: bench.ended >= 1))


@pytest.mark.parametrize("failure", [DatabaseUnavailable("away"), ValueError("a defect")])
async def test_a_claim_that_fails_ends_neither_its_stage_nor_the_others(failure: Exception) -> None:
    bench = Bench(waiting=1)
    bench.end.set()
    failures = 2

    async def claim(room: int, loop: WorkLoop) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            raise failure
        return await bench.claim(room, loop)

    async with at_work(bench.stage(claim=claim), Stage(name="other", claim=bench.claim, poll_s=0.01)):
        await eventually(holds(lambda: bench.ended == 1 and failures == 0))


async def test_an_item_that_fails_does_not_end_the_loop() -> None:
    bench = Bench()

    async def broken() -> None:
        raise ValueError("a defect")

    async with at_work(bench.stage(at_once_max=1)) as loop:
        loop.begin("bench", Work(broken))
        bench.end.set()
        await eventually(holds(lambda: bool(bench.asked)))
        bench.waiting = 1
        loop.wake("bench")
        await eventually(holds(lambda: bench.ended == 1))


async def test_the_leases_of_what_runs_are_kept_while_it_runs() -> None:
    bench = Bench(waiting=2)
    async with at_work(bench.stage(keep=bench.keep, keep_every_s=0.01)):
        await eventually(holds(lambda: len(bench.kept) >= 3))
        bench.end.set()
    assert bench.kept[0] == [1, 2]


async def test_a_stopping_loop_claims_nothing_more_and_waits_for_what_runs() -> None:
    bench = Bench(waiting=3)
    async with at_work(bench.stage()) as loop:
        await eventually(holds(lambda: bench.begun == 2))
        loop.stop()
        await eventually(holds(lambda: bench.drained == 2))
        bench.end.set()
    assert (bench.begun, bench.ended, bench.released) == (2, 2, [])


async def test_what_does_not_end_in_time_is_cancelled_and_handed_back() -> None:
    bench = Bench(waiting=2)
    async with at_work(bench.stage(), drain_s=0.05):
        await eventually(holds(lambda: bench.begun == 2))
    assert (bench.ended, bench.released) == (0, [1, 2])


async def test_what_a_draining_item_begins_still_runs() -> None:
    bench = Bench(waiting=1)
    followed = asyncio.Event()

    async def follow() -> None:
        followed.set()

    async with at_work(bench.stage(at_once_max=1), Stage(name="after", claim=bench.claim, poll_s=NEVER_S)) as loop:
        await eventually(holds(lambda: bench.begun == 1))

        async def item_that_leaves_a_reply() -> None:
            await bench.end.wait()
            loop.begin("after", Work(follow))

        loop.begin("bench", Work(item_that_leaves_a_reply))
        loop.stop()
        await eventually(holds(lambda: bench.drained == 1))
        bench.end.set()
    assert followed.is_set()


async def test_the_loop_says_that_it_polls_only_while_every_stage_does() -> None:
    polled = asyncio.Event()
    failing = True

    async def claim(_room: int, _loop: WorkLoop) -> int:
        if failing:
            raise DatabaseUnavailable("away")
        return 0

    loop = WorkLoop(
        [Stage(name="bench", claim=claim, poll_s=0.01), Stage(name="other", claim=Bench().claim)],
        drain_s=1,
        polled=polled.set,
    )
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0.1)
    assert not polled.is_set()
    failing = False
    await polled.wait()
    loop.stop()
    await running


async def test_the_loop_outlives_the_database(database: Database, tenant: TenantId, admin_url: str) -> None:
    desk = Desk(database, tenant)
    ran: list[str] = []
    failed = asyncio.Event()

    async def tidy(job: Job) -> None:
        ran.append(job.unique_key)

    async def claim(room: int, loop: WorkLoop) -> int:
        try:
            jobs = await claim_jobs(database, lanes=[desk.lane], limit=room)
        except DatabaseUnavailable:
            failed.set()
            raise
        for job in jobs:
            loop.begin("jobs", Work(partial(run_job, database, {"tidy": tidy}, job), job))
        return len(jobs)

    async with at_work(Stage(name="jobs", claim=claim, at_once_max=2, poll_s=0.05)):
        async with an_outage(admin_url):
            await failed.wait()
        await eventually(partial(answers, database))
        await desk.schedule(key="after the outage")
        await eventually(holds(lambda: ran == ["after the outage"]))


async def answers(database: Database) -> bool:
    try:
        async with queue_tx(database, commit=new_id("test")) as connection:
            await connection.execute("SELECT 1")
    except DatabaseUnavailable:
        return False
    return True
