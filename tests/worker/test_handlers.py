"""Each kind of job does its work when it is claimed and run."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from checkpoints.expiry import EXPIRE_JOB
from checkpoints.retention import PRUNE_JOB, RUNS_KEPT, RUNS_SLACK, schedule_prune_if_due
from core.clock import utc_now
from core.ids import TenantId, new_id
from db.jobs import schedule
from db.pools import Database
from db.transactions import tenant_tx
from inbox.jobs import claim_jobs, run_job
from tests.builders import rows
from tests.checkpoints.threads import CHECKPOINTS_PER_RUN, a_thread
from worker.handlers import job_handlers
from worker.runtime import Runtime


async def run_jobs(database: Database, tenant: TenantId) -> list[dict[str, Any]]:
    """Run what is due for this tenant, in a lane of its own; gives what became of its jobs."""
    lane = new_id("lane")
    await rows(database, tenant, "UPDATE core.jobs SET lane = %s WHERE state = 'queued' RETURNING 1", lane)
    handlers = job_handlers(cast("Runtime", SimpleNamespace(database=database)))
    for job in await claim_jobs(database, lanes=[lane], limit=10):
        await run_job(database, handlers, job)
    return await rows(database, tenant, "SELECT kind, state, error FROM core.jobs")


async def test_a_thread_that_is_due_is_pruned(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    for _ in range(RUNS_KEPT + RUNS_SLACK + 1):
        await thread.run()
    async with tenant_tx(database, tenant, commit="test") as connection:
        await schedule_prune_if_due(connection, thread.id)
    assert await run_jobs(database, tenant) == [{"kind": PRUNE_JOB, "state": "done", "error": None}]
    assert sum((await thread.checkpoints(nested=False)).values()) == RUNS_KEPT * CHECKPOINTS_PER_RUN


@pytest.mark.parametrize(("days", "left"), [("30", 0), ("32", CHECKPOINTS_PER_RUN), ("0", CHECKPOINTS_PER_RUN)])
async def test_checkpoints_expire_after_as_many_days_as_are_set(
    database: Database, tenant: TenantId, monkeypatch: pytest.MonkeyPatch, days: str, left: int
) -> None:
    monkeypatch.setenv("CHOWK_CHECKPOINT_RETENTION_D", days)
    thread = await a_thread(database, tenant)
    await thread.run()
    await thread.age(days=31)
    async with tenant_tx(database, tenant, commit="test") as connection:
        await schedule(connection, tenant_id=tenant, kind=EXPIRE_JOB, unique_key=EXPIRE_JOB, due_at=utc_now())
    assert await run_jobs(database, tenant) == [{"kind": EXPIRE_JOB, "state": "done", "error": None}]
    assert sum((await thread.checkpoints(nested=False)).values()) == left
