"""Streaming a graph, durably: each step's checkpoint and its record are committed before the next step begins.

With any other durability a killed run repeats steps that it had finished, under other ids. The run's id stands in the
metadata, so giving the same run to its graph again goes on where it stopped instead of starting anew.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import RunControl
from langgraph.types import Command, Interrupt

from checkpoints.saver import Hold, Journal, run_saver
from core.errors import Broken
from core.ids import RunId
from graphs.conversation import ConversationGraph
from graphs.forking import seed_thread
from graphs.questions import OpenQuestion
from graphs.run_claim import ClaimedRun
from graphs.run_commit import RunResult
from graphs.run_start import RunStart
from graphs.runtime import RunRuntime
from graphs.state import graph_input
from graphs.steps import StepRecorder
from tools.context import RunContext

#: Steps of one run, nested ones included; a loop between model and tools ends here.
STEPS_MAX = 40
#: An answer to a question that is not pending is refused instead of passing unseen.
STRICT_RESUME = "__pregel_strict_resume"


async def advance(
    runtime: RunRuntime, run: ClaimedRun, start: RunStart, control: RunControl, journal: Journal
) -> RunResult:
    """Let the graph go on from where it stands until it ends, or until it waits for what nobody has answered yet.

    Raises:
        GraphDrained: `control` asked it to stop, and it stopped at a step boundary.
        FenceLost: another process has taken the run over.
    """
    recorder = StepRecorder(
        runtime.clock, start.prompt_refs, runtime.price, run.attempts, start.next_step, journal=journal
    )
    saver = run_saver(runtime.database, run.tenant_id, Hold(run.run_id, run.lease_id, run.fence), journal)
    graph = start.graph.build(saver)
    config: RunnableConfig = {
        "configurable": {"thread_id": run.thread_id, STRICT_RESUME: True},
        "metadata": {"run_id": run.run_id},
        "recursion_limit": STEPS_MAX,
    }
    if start.origin is not None and start.origin.checkpoint_id is not None:
        await seed_thread(runtime.database, run, start.origin, graph, config)
    context = _context(runtime, run, start)
    given: Any = graph_input(start.values)  # Any: the input, then a command
    answered: set[str] = set()
    while True:
        final, interrupts = await _stream(graph, given, config, context, control, recorder)
        answers = _answers(interrupts, start.answers)
        if not answers:
            break
        if answered & answers.keys():
            raise Broken(f"run {run.run_id} asked again what was answered: {sorted(answered & answers.keys())}")
        answered |= answers.keys()
        given = Command(resume=answers)
    return RunResult(final.get("effects", []), [_open(one) for one in interrupts], recorder.used, journal)


async def _stream(
    graph: ConversationGraph,
    given: Any,  # Any: LangGraph's own union of inputs
    config: RunnableConfig,
    context: RunContext,
    control: RunControl,
    recorder: StepRecorder,
) -> tuple[Mapping[str, Any], Sequence[Interrupt]]:
    """One pass over the graph; gives the last state and the questions that stand open."""
    final: Mapping[str, Any] = {}  # Any: the state
    stream: AsyncIterator[Any] = graph.astream(  # Any: LangGraph types one mode's chunks, not several modes'
        given,
        config,
        context=context,
        stream_mode=["updates", "values", "tasks"],
        subgraphs=True,
        durability="sync",
        control=control,
    )
    async for namespace, mode, chunk in stream:
        if mode == "updates":
            recorder.update(namespace, chunk)
        elif mode == "tasks":
            recorder.task(namespace, chunk)
        elif not namespace:
            final = chunk
    return final, final.get("__interrupt__", ())


def _answers(interrupts: Sequence[Interrupt], by_slot: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """What is known of the open questions, as LangGraph takes it: by the id of the interrupt."""
    return {one.id: by_slot[one.value["slot"]] for one in interrupts if one.value["slot"] in by_slot}


def _open(one: Interrupt) -> OpenQuestion:
    return OpenQuestion(id=one.id, slot=one.value["slot"], asks=one.value["asks"], question=one.value["question"])


def _context(runtime: RunRuntime, run: ClaimedRun, start: RunStart) -> RunContext:
    return RunContext(
        database=runtime.database,
        tenant_id=run.tenant_id,
        run_id=run.run_id,
        fence=run.fence,
        embedder=runtime.embedder,
        chat_model=runtime.chat_model,
        clock=runtime.clock,
        dry_run=run.dry_run,
        receipts_of=None if start.origin is None else RunId(start.origin.receipts_of),
    )
