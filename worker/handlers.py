"""Every kind of job and who runs it. A new kind is one line here."""

from collections.abc import Mapping
from functools import partial

from checkpoints.expiry import EXPIRE_JOB, expire_checkpoints
from checkpoints.retention import PRUNE_JOB, prune_thread
from core.settings import RetentionSettings, load
from db.pools import Database
from inbox.jobs import Job, JobHandler
from worker.runtime import Runtime


def job_handlers(runtime: Runtime) -> Mapping[str, JobHandler]:
    """The handlers by kind, each with what it needs of the runtime."""
    return {
        PRUNE_JOB: partial(_prune_checkpoints, runtime.database),
        EXPIRE_JOB: partial(_expire_checkpoints, runtime.database),
    }


async def _prune_checkpoints(database: Database, job: Job) -> None:
    await prune_thread(database, job.tenant_id, job.payload["thread_id"])


async def _expire_checkpoints(database: Database, job: Job) -> None:
    await expire_checkpoints(database, job.tenant_id, days=load(RetentionSettings).checkpoint_retention_d)
