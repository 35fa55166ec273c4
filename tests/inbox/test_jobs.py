import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import FenceLost, NotDurable, ProviderRefused, RequestInvalid
from core.ids import TenantId, new_id
from db.jobs import schedule
from db.pools import Database
from db.provision import create_tenant
from db.transactions import queue_tx, tenant_tx
from inbox.jobs import (
    ATTEMPTS_MAX,
    Job,
    JobHandler,
    claim_jobs,
    extend_jobs,
    finish,
    forget_jobs,
    release_job,
    run_job,
)
from tests.builders import rows

PAST = datetime(2026, 1, 1, tzinfo=UTC)
FUTURE = datetime(2126, 1, 1, tzinfo=UTC)


class Desk:
    """One test's lane of jobs."""

    def __init__(self, database: Database, tenant: TenantId) -> None:
        self.database = database
        self.tenant = tenant
        self.lane = new_id("lane")

    async def schedule(self, *, key: str = "k", due_at: datetime = PAST, tenant: TenantId | None = None) -> None:
        tenant_id = tenant or self.tenant
        async with tenant_tx(self.database, tenant_id, commit="test") as connection:
            await schedule(
                connection, tenant_id=tenant_id, kind="tidy", unique_key=key, due_at=due_at,
                payload={"message_id": key}, lane=self.lane,
            )  # fmt: skip

    async def claim(self, limit: int = 16) -> list[Job]:
        return await claim_jobs(self.database, lanes=[self.lane], limit=limit)

    async def run_due(self, handlers: Mapping[str, JobHandler]) -> int:
        jobs = await self.claim()
        for job in jobs:
            await run_job(self.database, handlers, job)
        return len(jobs)

    async def rows(
        self, statement: str = "SELECT * FROM core.jobs WHERE lane = %s ORDER BY id"
    ) -> list[dict[str, Any]]:
        async with queue_tx(self.database, commit="test") as connection:
            cursor = await connection.execute(statement.encode(), (self.lane,))
            return [] if cursor.description is None else await cursor.fetchall()

    async def set(self, assignment: str) -> None:
        await self.rows(f"UPDATE core.jobs SET {assignment} WHERE lane = %s")


@pytest.fixture
def desk(database: Database, tenant: TenantId) -> Desk:
    return Desk(database, tenant)


def raising(error: Exception) -> Mapping[str, JobHandler]:
    async def fail(_: Job) -> None:
        raise error

    return {"tidy": fail}


async def test_a_due_job_is_run_once_with_what_it_was_given(desk: Desk) -> None:
    ran: list[tuple[TenantId, str, object]] = []

    async def tidy(job: Job) -> None:
        ran.append((job.tenant_id, job.unique_key, job.payload["message_id"]))

    await desk.schedule(key="one")
    assert await desk.run_due({"tidy": tidy}) == 1
    assert await desk.run_due({"tidy": tidy}) == 0
    assert ran == [(desk.tenant, "one", "one")]
    [row] = await desk.rows()
    assert (row["state"], row["attempts"]) == ("done", 1)
    assert row["finished_at"] is not None


async def test_a_job_waits_for_its_time_and_for_its_lane(desk: Desk) -> None:
    await desk.schedule(due_at=FUTURE)
    assert await desk.claim() == []
    await desk.set("due_at = now()")
    assert await claim_jobs(desk.database, lanes=["another lane"], limit=16) == []
    assert len(await desk.claim()) == 1


async def test_the_same_key_asked_for_twice_is_one_job_at_the_later_asked_time(desk: Desk) -> None:
    await desk.schedule(due_at=FUTURE)
    await desk.schedule(due_at=PAST)
    [row] = await desk.rows()
    assert row["due_at"] == PAST


async def test_concurrent_workers_never_claim_the_same_job(desk: Desk) -> None:
    for number in range(12):
        await desk.schedule(key=str(number))
    rounds = await asyncio.gather(*(desk.claim(limit=5) for _ in range(6)))
    claimed = [job.id for jobs in rounds for job in jobs]
    assert len(claimed) == len(set(claimed))


async def test_a_tenant_with_many_jobs_does_not_keep_another_waiting(desk: Desk, admin_url: str) -> None:
    other = create_tenant(admin_url, slug=new_id("slug").replace("_", "-"), name="Small")
    for number in range(20):
        await desk.schedule(key=str(number))
    await desk.schedule(key="late", due_at=PAST + timedelta(hours=1), tenant=other)
    assert other in {job.tenant_id for job in await desk.claim(limit=4)}


async def test_a_job_whose_worker_died_is_claimed_again_and_the_dead_one_can_write_nothing(desk: Desk) -> None:
    await desk.schedule()
    [zombie] = await desk.claim()
    assert await desk.claim() == []
    await desk.set("lease_until = now() - interval '1 second'")
    [job] = await desk.claim()
    assert (job.fence, job.attempts) == (zombie.fence + 1, 2)
    assert await extend_jobs(desk.database, [zombie]) == set()
    assert await extend_jobs(desk.database, [job]) == {job.id}
    with pytest.raises(FenceLost):
        async with tenant_tx(desk.database, desk.tenant, commit="test") as connection:
            await finish(connection, zombie)
    await release_job(desk.database, zombie)
    [row] = await desk.rows()
    assert row["lease_until"] is not None


async def test_a_job_that_kills_its_worker_each_time_becomes_a_dead_letter(desk: Desk) -> None:
    ran: list[Job] = []

    async def tidy(job: Job) -> None:
        ran.append(job)

    await desk.schedule()
    await desk.set(f"attempts = {ATTEMPTS_MAX}, lease_until = now() - interval '1 second'")
    await desk.run_due({"tidy": tidy})
    [row] = await desk.rows()
    assert (row["state"], row["error"]) == ("dead", f"its worker died {ATTEMPTS_MAX} times while running it")
    assert ran == []


@pytest.mark.parametrize(
    "passing",
    [
        NotDurable("the database is away"),
        ValueError("a defect"),
        ProviderRefused("too fast", remedy="retry", provider_code="4"),
    ],
)
async def test_what_may_pass_is_tried_again_later(desk: Desk, passing: Exception) -> None:
    await desk.schedule()
    await desk.run_due(raising(passing))
    [row] = await desk.rows("SELECT *, due_at > clock_timestamp() AS later FROM core.jobs WHERE lane = %s")
    assert (row["state"], row["later"], row["lease_until"]) == ("queued", True, None)
    assert await desk.claim() == []


@pytest.mark.parametrize(
    "final",
    [RequestInvalid("no such message"), ProviderRefused("never", remedy="person", provider_code="100")],
)
async def test_what_cannot_pass_is_a_dead_letter_at_once_with_its_cause(desk: Desk, final: Exception) -> None:
    await desk.schedule()
    await desk.run_due(raising(final))
    [row] = await desk.rows()
    assert (row["state"], row["error"]) == ("dead", str(final))


async def test_the_last_attempt_that_fails_is_a_dead_letter(desk: Desk) -> None:
    await desk.schedule()
    await desk.set(f"attempts = {ATTEMPTS_MAX - 1}")
    await desk.run_due(raising(ValueError("still")))
    [row] = await desk.rows()
    assert (row["state"], row["error"]) == ("dead", "ValueError: still")


async def test_a_kind_that_nobody_runs_is_a_dead_letter_that_names_the_kinds_there_are(desk: Desk) -> None:
    await desk.schedule()
    await desk.run_due({"other": raising(ValueError())["tidy"]})
    [row] = await desk.rows()
    assert row["error"] == "no handler runs jobs of kind 'tidy'; known are other"


async def test_a_job_that_is_asked_for_again_while_it_runs_runs_again(desk: Desk) -> None:
    async def tidy(_: Job) -> None:
        await desk.schedule(due_at=FUTURE)

    await desk.schedule()
    await desk.run_due({"tidy": tidy})
    [row] = await desk.rows()
    assert (row["state"], row["due_at"], row["attempts"], row["lease_until"]) == ("queued", FUTURE, 0, None)


async def test_a_handler_ends_its_job_together_with_what_it_did(desk: Desk) -> None:
    async def tidy(job: Job) -> None:
        async with tenant_tx(desk.database, desk.tenant, commit="test") as connection:
            await connection.execute("INSERT INTO contacts (id) VALUES (%s)", (job.unique_key,))
            await finish(connection, job)

    await desk.schedule()
    await desk.run_due({"tidy": tidy})
    [row] = await desk.rows()
    assert row["state"] == "done"


async def test_a_released_job_is_taken_up_at_once_and_costs_no_attempt(desk: Desk) -> None:
    await desk.schedule()
    [job] = await desk.claim()
    await release_job(desk.database, job)
    [again] = await desk.claim()
    assert (again.attempts, again.fence) == (1, 2)


async def test_jobs_that_were_done_long_ago_are_forgotten(database: Database, tenant: TenantId) -> None:
    for kind in ("old", "new"):
        async with tenant_tx(database, tenant, commit="test") as connection:
            await schedule(connection, tenant_id=tenant, kind=kind, unique_key="k", due_at=datetime.now(UTC))
    await rows(
        database, tenant,
        """UPDATE core.jobs SET state = 'done', finished_at = now() - make_interval(days => CASE kind WHEN 'old'
           THEN 8 ELSE 6 END) RETURNING 1""",
    )  # fmt: skip
    assert await forget_jobs(database) >= 1
    assert await rows(database, tenant, "SELECT kind FROM core.jobs") == [{"kind": "new"}]
