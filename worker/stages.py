"""The stages of a worker, in the order in which a message passes through them. Each wakes the one after it."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from langgraph.runtime import RunControl

from checkpoints.expiry import schedule_daily
from core.clock import utc_now
from core.errors import ChowkError
from core.ids import ConversationId, RunId, TenantId
from core.log import logger
from core.settings import TurnSettings, load
from db.pools import Database
from db.transactions import queue_tx
from graphs.run import CANCELLED, LOST, STOPPING, run_claimed
from graphs.run_claim import ClaimedRun, claim_runs, extend_runs, release_run
from graphs.runtime import RunRuntime
from inbox.explode import explode_due
from inbox.jobs import LEASE_S as JOB_LEASE_S
from inbox.jobs import claim_jobs, extend_jobs, forget_jobs, release_job, run_job
from inbox.orphans import delete_orphan_blobs
from inbox.split import split_due
from inbox.sweep import sweep
from outbox.begin import Sending
from outbox.deliver import send, take_up_conversation, take_up_due
from rest.idempotency import forget_answers
from worker.handlers import job_handlers
from worker.loop import Stage, Work, WorkLoop
from worker.runtime import Runtime

log = logger(__name__)

#: How many bodies, or events, are written in one round.
BATCH_ROWS_MAX = 64
#: Sends are waiting, not work; a slow provider must not hold up the others.
SENDS_AT_ONCE_MAX = 64
JOBS_AT_ONCE_MAX = 8
SWEEP_EVERY_S = 5.0
ORPHANS_EVERY_S = 3600.0
DAILY_LOOK_EVERY_S = 3600.0

#: When a run becomes due, or free because whoever holds it has died.
NEXT_RUN = """
SELECT extract(epoch FROM min(at) - clock_timestamp())::float8 AS due_in_s FROM (
  SELECT min(due_at) AS at FROM core.runs WHERE state = 'queued' AND due_at > clock_timestamp()
  UNION ALL
  SELECT min(lease_until) FROM core.runs WHERE state = 'running' AND lease_until > clock_timestamp()) AS next
"""


def stages_of(runtime: Runtime, lanes: Sequence[str]) -> list[Stage]:
    """The stages that work on these lanes. Effects and jobs carry their lane; a conversation is always interactive."""
    stages = [_effects(runtime, lanes), _jobs(runtime, lanes)]
    if "interactive" in lanes:
        stages += [_split(runtime), _explode(runtime), _runs(runtime)]
    if "background" in lanes:
        stages += [_sweep(runtime), _orphans(runtime), daily(runtime)]
    return stages


def _split(runtime: Runtime) -> Stage:
    async def claim(room: int, loop: WorkLoop) -> int:
        bodies = await split_due(runtime.database, runtime.sealer, limit=room)
        if bodies:
            loop.wake("explode")
        return bodies

    return Stage(name="split", claim=claim, at_once_max=BATCH_ROWS_MAX)


def _explode(runtime: Runtime) -> Stage:
    async def claim(room: int, loop: WorkLoop) -> int:
        events = await explode_due(runtime.database, runtime.sealer, limit=room)
        if events:
            loop.wake("runs")
        return events

    return Stage(name="explode", claim=claim, at_once_max=BATCH_ROWS_MAX)


def _runs(runtime: Runtime) -> Stage:
    settings = load(TurnSettings)
    controls: dict[RunId, RunControl] = {}

    async def claim(room: int, loop: WorkLoop) -> int:
        runs = await claim_runs(runtime.database, worker=runtime.worker, limit=room)
        for run in runs:
            control = controls[run.run_id] = RunControl()
            advance = partial(_advance, runtime, loop, run, controls)
            loop.begin("runs", Work(advance, run, partial(control.request_drain, STOPPING)))
        return len(runs)

    async def keep(runs: Sequence[ClaimedRun]) -> None:
        kept = await extend_runs(runtime.database, runs)
        for run in runs:
            control = controls.get(run.run_id)
            if control is not None and run.run_id not in kept.held:
                control.request_drain(LOST)
            elif control is not None and run.run_id in kept.cancelled:
                control.request_drain(CANCELLED)

    async def release(run: ClaimedRun) -> None:
        await release_run(runtime.database, run, counts=False)

    return Stage(
        name="runs",
        claim=claim,
        at_once_max=settings.turns_concurrent_max,
        woken_by_ends=True,
        due_in_s=partial(_next_run_due_in_s, runtime.database),
        keep=keep,
        keep_every_s=settings.lease_s / 3,
        release=release,
    )


async def _advance(runtime: Runtime, loop: WorkLoop, run: ClaimedRun, controls: dict[RunId, RunControl]) -> None:
    control = controls[run.run_id]
    try:
        await run_claimed(_run_runtime(runtime, loop), run, control)
    finally:
        if controls.get(run.run_id) is control:
            del controls[run.run_id]


def _effects(runtime: Runtime, lanes: Sequence[str]) -> Stage:
    async def claim(room: int, loop: WorkLoop) -> int:
        return await take_up_due(runtime.outbox, lanes=lanes, limit=room, start=partial(_begin_send, runtime, loop))

    return Stage(name="effects", claim=claim, at_once_max=SENDS_AT_ONCE_MAX, leaves_some=True)


def _jobs(runtime: Runtime, lanes: Sequence[str]) -> Stage:
    handlers = job_handlers(runtime)

    async def claim(room: int, loop: WorkLoop) -> int:
        jobs = await claim_jobs(runtime.database, lanes=lanes, limit=room)
        for job in jobs:
            loop.begin("jobs", Work(partial(run_job, runtime.database, handlers, job), job))
        return len(jobs)

    return Stage(
        name="jobs",
        claim=claim,
        at_once_max=JOBS_AT_ONCE_MAX,
        keep=partial(extend_jobs, runtime.database),
        keep_every_s=JOB_LEASE_S / 3,
        release=partial(release_job, runtime.database),
    )


def _sweep(runtime: Runtime) -> Stage:
    async def claim(_room: int, _loop: WorkLoop) -> int:
        await sweep(runtime.database, runtime.sealer)
        return 0

    return Stage(name="sweep", claim=claim, poll_s=SWEEP_EVERY_S)


def _orphans(runtime: Runtime) -> Stage:
    async def claim(_room: int, _loop: WorkLoop) -> int:
        await delete_orphan_blobs(runtime.database, now=utc_now())
        return 0

    return Stage(name="orphans", claim=claim, poll_s=ORPHANS_EVERY_S)


def daily(runtime: Runtime) -> Stage:
    """Schedule what every tenant has done once a day, unless it is scheduled already, and forget what is long over."""

    async def claim(room: int, _loop: WorkLoop) -> int:
        await schedule_daily(runtime.database)
        async with queue_tx(runtime.database, commit="answers.forget") as connection:
            await forget_answers(connection)
        return room if await forget_jobs(runtime.database) else 0

    return Stage(name="daily", claim=claim, poll_s=DAILY_LOOK_EVERY_S)


def _run_runtime(runtime: Runtime, loop: WorkLoop) -> RunRuntime:
    def effects_queued(tenant_id: TenantId, conversation_id: ConversationId) -> None:
        loop.begin("effects", Work(partial(_hand_over, runtime, loop, tenant_id, conversation_id)))

    return RunRuntime(
        database=runtime.database,
        pins=runtime.pins,
        chat_model=runtime.chat_model,
        embedder=runtime.embedder,
        effects_queued=effects_queued,
        price=runtime.price,
    )


async def _hand_over(runtime: Runtime, loop: WorkLoop, tenant_id: TenantId, conversation_id: ConversationId) -> None:
    """Send what a conversation has just queued, without waiting for a poll."""
    try:
        await take_up_conversation(
            runtime.outbox, tenant_id, conversation_id, start=partial(_begin_send, runtime, loop)
        )
    except ChowkError as error:
        log.warning("effects_left_to_the_poll", conversation_id=conversation_id, error=error.message)


def _begin_send(runtime: Runtime, loop: WorkLoop, sending: Sending) -> None:
    loop.begin("effects", Work(partial(_send, runtime, loop, sending)))


async def _send(runtime: Runtime, loop: WorkLoop, sending: Sending) -> None:
    if await send(runtime.outbox, sending):
        await _hand_over(runtime, loop, sending.tenant_id, sending.conversation_id)


async def _next_run_due_in_s(database: Database) -> float | None:
    async with queue_tx(database, commit="runs.next") as connection:
        row: dict[str, Any] | None = await (await connection.execute(NEXT_RUN)).fetchone()
    return None if row is None else row["due_in_s"]
