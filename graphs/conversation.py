"""The conversation graph: one turn from the person's messages to the effects that answer them.

recall -> triage -> reply -> guard -> emit; what asks for no answer goes from triage to guard.
Each node makes one call at most, to a model or to the database, so that a killed run repeats no finished call.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

from agents.decisions import AgentReport, TurnDecision, hand_off
from agents.guard import judge_reply, judge_triage, respect_owner
from agents.reply import ReplyTask, reply_agent
from agents.reply import reply as decide_reply
from agents.triage import TriageTask
from agents.triage import triage as decide_triage
from core.log import logger
from graphs.emit import effects_of, is_offer
from graphs.recall import recall_for
from graphs.routing import after_triage
from graphs.state import (
    ConversationState,
    Draft,
    Recalled,
    TrailEntry,
    Update,
    default_language,
    last_words_of_ours,
    organisation,
    texts_of,
    window_of,
)
from models.chat import ModelRejected, ModelUnavailable, engine_of
from models.offline.language import language_of
from prompts.loader import pinned_prompt
from tools.context import RunContext
from tools.knowledge import RecalledPassage, merge

#: Raised when a change of nodes or fields would make a checkpoint of the last version go on wrongly.
GRAPH_VERSION = "1"
#: Total attempts of a step whose model did not answer; after the last one a person takes over.
MODEL_ATTEMPTS = 2
RETRY_AFTER_S = 0.5

log = logger(__name__)

#: Any: LangGraph's own types of the input and the output of a graph.
ConversationGraph: TypeAlias = CompiledStateGraph[ConversationState, RunContext, Any, Any]


async def recall(state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    """Look up what the turn may need."""
    recalled = await recall_for(state, runtime.context)
    return {
        "recalled": recalled,
        "trail": [_entry("recall", ["recalled"], report=_by_code(recalled["why"]), passages=recalled["passages"])],
    }


async def triage(state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    """Decide what to do with what was said."""
    context, language = runtime.context, default_language(state)
    prompt_id = "triage/classify"
    ref = state["prompt_refs"][prompt_id]
    prompt = await pinned_prompt(prompt_id, ref, database=context.database, tenant_id=context.tenant_id)
    task = TriageTask(
        texts=texts_of(state),
        default_language=language,
        instructions=prompt.render({"organisation": organisation(state), "language": language}),
        prompt_ref=ref,
    )
    try:
        decision, report = await decide_triage(task, context.chat_model)
    except (ModelUnavailable, ModelRejected) as error:
        report = _given_up(error, ref, runtime)
        decision, fault = None, "model_unavailable"
    else:
        fault = None if decision else "model_refused"
    draft = Draft(decision=None, fault=fault) if fault else None
    return {
        "route": decision,
        "draft": draft,
        "trail": [_entry("triage", ["route", "draft"], author="agent:triage", report=report)],
    }


async def reply(state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    """Let the reply agent choose an answer from what was recalled."""
    context, recalled, route = runtime.context, state["recalled"], state["route"]
    assert recalled is not None
    assert route is not None
    prompt_id = "reply/answer"
    ref = state["prompt_refs"][prompt_id]
    prompt = await pinned_prompt(prompt_id, ref, database=context.database, tenant_id=context.tenant_id)
    variables = {
        "organisation": organisation(state),
        "language": route["language"],
        "searches": recalled["searches"],
        "passages": recalled["passages"],
    }
    task = ReplyTask(texts_of(state), prompt.render(variables), ref, window_of(state))
    try:
        outcome = await decide_reply(task, context)
    except (ModelUnavailable, ModelRejected) as error:
        report = _given_up(error, ref, runtime)
        draft = Draft(decision=None, fault="model_unavailable")
        return {"draft": draft, "trail": [_entry("reply", ["draft"], author="agent:reply", report=report)]}
    passages = merge(recalled["passages"], outcome.found)
    recalled = Recalled(searches=recalled["searches"], why=recalled["why"], passages=passages)
    draft = Draft(decision=outcome.decision, fault=None if outcome.decision else "model_refused")
    entry = _entry("reply", ["draft", "recalled"], author="agent:reply", report=outcome.report, passages=passages)
    update: Update = {"draft": draft, "trail": [entry]}
    return update | {"recalled": recalled} if outcome.found else update


async def guard(state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    """Let through what is grounded, and what the conversation's owner leaves to us."""
    del runtime  # code alone
    decision = respect_owner(_judged(state), state["owner"])
    why = decision["hand_off"] or decision["action"]
    return {"decision": decision, "trail": [_entry("guard", ["decision"], report=_by_code(why))]}


async def emit(state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    """Put the decision into effects."""
    del runtime
    decision = state["decision"]
    assert decision is not None
    effects = effects_of(decision, state)
    why = ", ".join(effect["slot"] for effect in effects) or "nothing to do"
    return {"effects": effects, "trail": [_entry("emit", ["effects"], report=_by_code(why))]}


@cache
def _compiled() -> ConversationGraph:
    graph = StateGraph(ConversationState, context_schema=RunContext)
    again = RetryPolicy(max_attempts=MODEL_ATTEMPTS, retry_on=ModelUnavailable, initial_interval=RETRY_AFTER_S)
    graph.add_node("recall", recall)
    graph.add_node("triage", triage, retry_policy=again)
    graph.add_node("reply", reply, retry_policy=again)
    graph.add_node("guard", guard)
    graph.add_node("emit", emit)
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "triage")
    graph.add_conditional_edges("triage", after_triage, ["reply", "guard"])
    graph.add_edge("reply", "guard")
    graph.add_edge("guard", "emit")
    graph.add_edge("emit", END)
    return cast("ConversationGraph", graph.compile(name="conversation"))


def build_conversation_graph(checkpointer: BaseCheckpointSaver[Any] | None = None) -> ConversationGraph:
    """The conversation graph over this checkpointer. It is compiled once per process, so a call costs microseconds."""
    reply_agent()
    return _compiled().copy({"checkpointer": checkpointer})


def conversation() -> ConversationGraph:
    """The factory that `langgraph.json` names: the graph without a checkpointer."""
    return build_conversation_graph()


def _judged(state: ConversationState) -> TurnDecision:
    route, draft, recalled = state["route"], state["draft"], state["recalled"]
    if draft is None:
        assert route is not None
        return judge_triage(route)
    language = route["language"] if route else language_of(" ".join(texts_of(state)), default=default_language(state))
    if draft["fault"] is not None:
        return hand_off(draft["fault"], language=language)
    clarified_before = is_offer(last_words_of_ours(state))
    passages = recalled["passages"] if recalled else []
    decision = judge_reply(draft["decision"], passages, language=language, clarified_before=clarified_before)
    if decision["action"] == "answer" and decision["hand_off"] is None and "" in texts_of(state):
        decision["hand_off"] = "unreadable"  # the question beside the picture is answered, the picture is not
    return decision


def _given_up(error: ModelUnavailable | ModelRejected, ref: str, runtime: Runtime[RunContext]) -> AgentReport:
    """The report of an agent whose model did not answer; while attempts remain, the step is taken again instead."""
    attempt = runtime.execution_info.node_attempt if runtime.execution_info else MODEL_ATTEMPTS
    if error.retryable and attempt < MODEL_ATTEMPTS:
        raise error
    log.warning("model_failed", run_id=runtime.context.run_id, error=error.message)
    report = _by_code(error.message)
    report["prompt_ref"], report["engine"] = ref, engine_of(runtime.context.chat_model)
    return report


def _by_code(why: str) -> AgentReport:
    return AgentReport(prompt_ref=None, engine=None, tokens_in=0, tokens_out=0, tool_calls=[], why=why)


def _entry(
    node: str,
    wrote: list[str],
    *,
    report: AgentReport,
    author: str = "code",
    passages: Sequence[RecalledPassage] = (),
) -> TrailEntry:
    hits = [passage["chunk_id"] for passage in passages]
    return TrailEntry(node=node, author=author, wrote=wrote, memory_hits=hits, report=report)
