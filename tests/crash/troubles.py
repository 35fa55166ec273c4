"""Everything that goes wrong on a bad day: what cannot be read, what fails once, and what fails for good."""

from functools import partial
from typing import Any, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

import graphs.registry
from core.clock import utc_now
from core.errors import Broken
from db.jobs import schedule
from db.transactions import tenant_tx
from graphs.conversation import ConversationGraph
from graphs.registry import RegisteredGraph
from graphs.state import ConversationState, Update
from inbox.explode import explode_due
from inbox.jobs import Job, claim_jobs, release_job
from inbox.split import split_due
from inbox.sweep import sweep
from tests.builders import a_text
from tests.crash.twenty_steps import REQUEST
from tests.crash.world import ASKS, TIMESTAMP, World
from tools.context import RunContext

#: A body that is signed and cannot be read, and a message that is damaged before it is written.
UNREADABLE = b'{"object": "whatsapp_business_account", "entry": ['
DAMAGED = "wamid.damaged"
DAMAGE = """
UPDATE core.inbox_events SET event_sealed = '\\x00'::bytea
WHERE state = 'new' AND event_key LIKE '%%' || %s || '%%' RETURNING id
"""
FAILURES = "SELECT count(*) AS failures FROM core.run_steps WHERE run_id = %s AND error IS NOT NULL"
RUN_OVER = "SELECT 1 FROM core.runs WHERE id = %s AND state IN ('succeeded', 'failed', 'cancelled')"
#: What waits for its next attempt need not.
HURRY = """
WITH jobs AS (UPDATE core.jobs SET due_at = now() WHERE state = 'queued')
UPDATE core.runs SET lease_until = now() - interval '1 s' WHERE state = 'running' RETURNING 1
"""
JOBS = ("fails_once", "hopeless", "let_go")


async def troubles(world: World) -> None:
    await world.receive_raw(UNREADABLE)
    await _damaged(world)
    await _runs(world)
    await _jobs(world)
    await sweep(world.database, world.sealer)


async def _damaged(world: World) -> None:
    await world.receive(a_text("never read", sender=ASKS, wamid=DAMAGED, timestamp=TIMESTAMP))
    while await split_due(world.database, world.sealer, limit=64):
        pass
    await world.rows(DAMAGE, DAMAGED)
    while await explode_due(world.database, world.sealer, limit=64):
        pass


async def _runs(world: World) -> None:
    for name in ("fails_once", "defect"):
        made = RegisteredGraph(name, "1", partial(_build, name, world), {})
        graphs.registry.GRAPHS = graphs.registry.GRAPHS | {name: made}  # pyright: ignore[reportOperatorIssue]  # a proxy joins
        keys = {"id": f"run_{name}_{world.tenant_id}", "account_id": world.account_id, "graph": name}
        async with tenant_tx(world.database, world.tenant_id, commit="test") as connection:
            await connection.execute(REQUEST, keys)
        while not await world.rows(RUN_OVER, keys["id"]):
            await world.work()
            await world.rows(HURRY)


def _build(name: str, world: World, saver: BaseCheckpointSaver[Any] | None) -> ConversationGraph:
    graph = StateGraph(ConversationState, context_schema=RunContext)
    graph.add_node("first", _first)
    graph.add_node("second", partial(_second, name, world))  # pyright: ignore[reportArgumentType, reportCallIssue]  # a partial
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    return cast("ConversationGraph", graph.compile(checkpointer=saver, name=name))


async def _first(_state: ConversationState) -> Update:
    return {"summary": "begun"}


async def _second(name: str, world: World, _state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    if name == "defect":
        raise Broken("a defect")
    (row,) = await world.rows(FAILURES, runtime.context.run_id)
    if not row["failures"]:
        raise ValueError("this fails once")
    return {"summary": "ended"}


async def _jobs(world: World) -> None:
    if not await world.rows("SELECT 1 FROM core.jobs WHERE kind = ANY(%s)", list(JOBS)):
        async with tenant_tx(world.database, world.tenant_id, commit="test") as connection:
            for kind in JOBS:
                await schedule(connection, tenant_id=world.tenant_id, kind=kind, unique_key="1", due_at=utc_now())
    world.handlers = {"fails_once": _fails_once, "hopeless": _hopeless, "let_go": _done}
    for job in await claim_jobs(world.database, lanes=("background",), limit=64):
        if job.tenant_id == world.tenant_id:
            await release_job(world.database, job)
    while await world.rows("SELECT 1 FROM core.jobs WHERE state = 'queued'"):
        await world.work()
        await world.rows(HURRY)


async def _fails_once(job: Job) -> None:
    if job.attempts == 1:
        raise ValueError("this fails once")


async def _hopeless(_job: Job) -> None:
    raise Broken("nothing helps")


async def _done(_job: Job) -> None:
    """There is nothing to do."""
