"""The only caller that advances a graph: begin or take up, let it go on, commit what was decided.

Whatever a run meets on its way ends here in one of a few ways: it goes on elsewhere, is tried again, waits, or ends.
"""

import random

import psycopg
from langgraph.errors import EmptyChannelError, GraphDrained, GraphRecursionError, InvalidUpdateError
from langgraph.runtime import RunControl
from psycopg_pool import PoolTimeout

from checkpoints.saver import Journal
from core.errors import ChowkError, FenceLost
from core.log import logger
from core.telemetry import STAGE_SECONDS, TURNS, trace_id
from db.transactions import DatabaseUnavailable
from graphs.advance import advance
from graphs.run_claim import ClaimedRun, release_run
from graphs.run_commit import Ending, RunResult, commit_run, end_run, record_steps
from graphs.run_start import RunStart, start_run
from graphs.runtime import RunRuntime

log = logger(__name__)

#: A run that was claimed this often without ending is dead.
ATTEMPTS_MAX = 5
DATABASE_RETRY_S = 0.3
#: The reasons for which a run at work is asked to stop at its next step boundary.
CANCELLED, LOST, STOPPING = "cancelled", "another process has it", "the worker is stopping"
#: What no further attempt can mend.
DEFECTS = (GraphRecursionError, InvalidUpdateError, EmptyChannelError)


async def run_claimed(runtime: RunRuntime, run: ClaimedRun, control: RunControl) -> None:
    """Take one claimed run as far as it goes. `control` may ask it to stop at the next step boundary.

    Never raises for what a run may meet: one that failed is tried again after a while, and dies after `ATTEMPTS_MAX`
    tries or at once where no further attempt can help; one that another process took over is dropped.
    """
    trace_id.set(run.trace_id)
    journal = Journal()
    try:
        if run.attempts > ATTEMPTS_MAX:
            await _end(runtime, run, "dead", f"given up after {ATTEMPTS_MAX} attempts")
        else:
            await _run(runtime, run, control, journal)
    except FenceLost as error:
        TURNS.labels("fence_lost").inc()
        log.warning("run_lost", run_id=run.run_id, error=error.message)
    except GraphDrained:
        await _drained(runtime, run, control, journal)
    except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnavailable) as error:
        log.warning("run_interrupted", run_id=run.run_id, error=str(error))
        await _go_on_soon(runtime, run, error)
    except Exception as error:  # the edge of a run: whatever it was, the run must not be lost
        log.exception("run_failed", run_id=run.run_id, attempts=run.attempts)
        await _fail(runtime, run, error, journal)


async def _run(runtime: RunRuntime, run: ClaimedRun, control: RunControl, journal: Journal) -> None:
    with STAGE_SECONDS.labels("run.start").time():
        start = await start_run(runtime.database, run, runtime.pins)
    if not isinstance(start, RunStart):
        await _end(runtime, run, start)
        return
    runtime.effects_queued(run.tenant_id, run.conversation_id)
    with STAGE_SECONDS.labels("graph").time():
        result = await advance(runtime, run, start, control, journal)
    with STAGE_SECONDS.labels("run.commit").time():
        outcome = await commit_run(runtime.database, run, start, result)
    runtime.effects_queued(run.tenant_id, run.conversation_id)
    TURNS.labels(outcome).inc()
    log.info("run_finished", run_id=run.run_id, conversation_id=run.conversation_id, kind=run.kind, outcome=outcome)


async def _end(runtime: RunRuntime, run: ClaimedRun, outcome: Ending, error: str | None = None) -> None:
    await end_run(runtime.database, run, outcome, error=error)
    TURNS.labels(outcome).inc()


async def _drained(runtime: RunRuntime, run: ClaimedRun, control: RunControl, journal: Journal) -> None:
    """It stopped at a step boundary because somebody asked: for good, or to go on in another process."""
    try:
        if control.drain_reason == CANCELLED:
            await end_run(runtime.database, run, "cancelled", result=RunResult(journal=journal))
            TURNS.labels("cancelled").inc()
        else:
            await release_run(runtime.database, run, counts=False)
    except ChowkError as error:
        log.warning("run_not_released", run_id=run.run_id, error=error.message)  # its lease ends by itself


async def _go_on_soon(runtime: RunRuntime, run: ClaimedRun, error: Exception) -> None:
    """The database went away, which says nothing about the run: it goes on where it stopped and loses no attempt."""
    try:
        # A restarted server leaves dead connections in the pool, and each would interrupt a run once more.
        await runtime.database.checkpoints.check()
        await release_run(runtime.database, run, wait_s=DATABASE_RETRY_S, error=str(error), counts=False)
    except (ChowkError, psycopg.Error, PoolTimeout) as second:
        log.warning("run_not_released", run_id=run.run_id, error=str(second))  # its lease ends by itself


async def _fail(runtime: RunRuntime, run: ClaimedRun, error: Exception, journal: Journal) -> None:
    message = error.message if isinstance(error, ChowkError) else f"{type(error).__name__}: {error}"
    hopeless = isinstance(error, DEFECTS) or (isinstance(error, ChowkError) and not error.retryable)
    result = RunResult(journal=journal)
    try:
        if hopeless or run.attempts >= ATTEMPTS_MAX:
            outcome: Ending = "failed" if hopeless else "dead"
            await end_run(runtime.database, run, outcome, error=message, result=result)
            TURNS.labels(outcome).inc()
        else:
            wait_s = 2**run.attempts * random.uniform(0.5, 1)  # noqa: S311  # jitter, not a secret
            await record_steps(runtime.database, run, journal)
            await release_run(runtime.database, run, wait_s=wait_s, error=message)
    except ChowkError as second:
        log.warning("run_not_released", run_id=run.run_id, error=second.message)
