"""The only caller that advances a graph: begin, stream the steps durably, commit what was decided.

Durability is `sync`: a step's checkpoint is committed before the next step begins. With anything less a killed run
repeats steps it had finished, under other ids. The run's id stands in the metadata, so giving the same run to the
graph again goes on where it stopped instead of starting anew.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from langchain_core.language_models import BaseChatModel
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from psycopg_pool import PoolTimeout

from checkpoints.saver import tenant_saver
from core.clock import Clock, utc_now
from core.errors import ChowkError, FenceLost
from core.ids import ConversationId, TenantId
from core.log import logger
from core.telemetry import STAGE_SECONDS, TURNS, trace_id
from db.pools import Database
from db.transactions import DatabaseUnavailable
from graphs.conversation import build_conversation_graph
from graphs.steps import StepRecorder
from graphs.turn_claim import ClaimedTurn, release_turn
from graphs.turn_commit import TurnResult, commit_turn, finish_turn
from graphs.turn_start import Pins, TurnInput, start_turn
from models.embedder import Embedder
from tools.context import RunContext

log = logger(__name__)

#: A run that was claimed this often without ending is dead.
ATTEMPTS_MAX = 5
DATABASE_RETRY_S = 0.3
#: Steps of one run, nested ones included; a loop between model and tools ends here.
STEPS_MAX = 40


@dataclass(frozen=True, slots=True)
class TurnRuntime:
    """What a process needs to run turns."""

    database: Database
    pins: Pins
    chat_model: BaseChatModel
    embedder: Embedder
    #: Called after a commit that may have queued effects, so that they leave without waiting for a poll.
    effects_queued: Callable[[TenantId, ConversationId], None]
    clock: Clock = utc_now


async def run_turn(runtime: TurnRuntime, turn: ClaimedTurn, control: RunControl) -> None:
    """Take one claimed turn as far as it goes. `control` may ask it to stop at the next step boundary.

    Never raises for what a turn may meet: a turn that failed is tried again after a while, and dies after
    `ATTEMPTS_MAX` tries; one that another process took over is dropped.
    """
    trace_id.set(turn.trace_id)
    try:
        if turn.attempts > ATTEMPTS_MAX:
            await finish_turn(runtime.database, turn, outcome="dead", error=f"given up after {ATTEMPTS_MAX} attempts")
            TURNS.labels("dead").inc()
            return
        await _run(runtime, turn, control)
    except FenceLost as error:
        TURNS.labels("fence_lost").inc()
        log.warning("turn_lost", run_id=turn.run_id, error=error.message)
    except GraphDrained:
        await release_turn(runtime.database, turn, counts=False)
    except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseUnavailable) as error:
        log.warning("turn_interrupted", run_id=turn.run_id, error=str(error))
        await _go_on_soon(runtime, turn, error)
    except Exception as error:  # the edge of a turn: whatever it was, the run must not be lost
        log.exception("turn_failed", run_id=turn.run_id, attempts=turn.attempts)
        await _retry_later(runtime, turn, error)


async def _run(runtime: TurnRuntime, turn: ClaimedTurn, control: RunControl) -> None:
    with STAGE_SECONDS.labels("turn.start").time():
        given = await start_turn(runtime.database, turn, runtime.pins)
    if given is None:
        await finish_turn(runtime.database, turn, outcome="nothing_to_answer")
        return
    runtime.effects_queued(turn.tenant_id, turn.conversation_id)
    with STAGE_SECONDS.labels("graph").time():
        result = await _advance(runtime, turn, given, control)
    with STAGE_SECONDS.labels("turn.commit").time():
        outcome = await commit_turn(runtime.database, turn, given, result)
    runtime.effects_queued(turn.tenant_id, turn.conversation_id)
    TURNS.labels(outcome).inc()
    log.info("turn_finished", run_id=turn.run_id, conversation_id=turn.conversation_id, outcome=outcome)


async def _advance(runtime: TurnRuntime, turn: ClaimedTurn, given: TurnInput, control: RunControl) -> TurnResult:
    recorder = StepRecorder(runtime.clock, given.values["prompt_refs"], given.next_step)
    graph = build_conversation_graph(tenant_saver(runtime.database, turn.tenant_id))
    recorder.start()
    final: Mapping[str, Any] = {}  # Any: the state
    stream: AsyncIterator[Any] = graph.astream(  # Any: LangGraph types one mode's chunks, not several modes'
        given.graph_input(),
        {
            "configurable": {"thread_id": turn.conversation_id},
            "metadata": {"run_id": turn.run_id},
            "recursion_limit": STEPS_MAX,
        },
        context=RunContext(
            database=runtime.database,
            tenant_id=turn.tenant_id,
            run_id=turn.run_id,
            fence=turn.fence,
            embedder=runtime.embedder,
            chat_model=runtime.chat_model,
            clock=runtime.clock,
        ),
        stream_mode=["updates", "values"],
        subgraphs=True,
        durability="sync",
        control=control,
    )
    async for namespace, mode, chunk in stream:
        if mode == "updates":
            recorder.record(namespace, chunk)
        elif not namespace:
            final = chunk
    return TurnResult(final.get("effects", []), recorder.steps)


async def _go_on_soon(runtime: TurnRuntime, turn: ClaimedTurn, error: Exception) -> None:
    """The database went away, which says nothing about the turn: it goes on where it stopped and loses no attempt."""
    try:
        # A restarted server leaves dead connections in the pool, and each would interrupt a turn once more.
        await runtime.database.checkpoints.check()
        await release_turn(runtime.database, turn, wait_s=DATABASE_RETRY_S, error=str(error), counts=False)
    except (ChowkError, psycopg.Error, PoolTimeout) as second:
        log.warning("turn_not_released", run_id=turn.run_id, error=str(second))  # its lease ends by itself


async def _retry_later(runtime: TurnRuntime, turn: ClaimedTurn, error: Exception) -> None:
    message = error.message if isinstance(error, ChowkError) else f"{type(error).__name__}: {error}"
    try:
        if turn.attempts >= ATTEMPTS_MAX:
            await finish_turn(runtime.database, turn, outcome="dead", error=message)
            TURNS.labels("dead").inc()
        else:
            wait_s = 2**turn.attempts * random.uniform(0.5, 1)  # noqa: S311  # jitter, not a secret
            await release_turn(runtime.database, turn, wait_s=wait_s, error=message)
    except ChowkError as second:
        log.warning("turn_not_released", run_id=turn.run_id, error=second.message)
