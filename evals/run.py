"""Running cases: each is one turn of the conversation graph over real knowledge, kept in memory; nothing is sent."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver

from core.ids import RunId, TenantId, new_id
from db.pools import Database
from evals.case import Case
from evals.report import Report, Result
from evals.scorers import Outcome, score
from graphs.conversation import GRAPH_VERSION, build_conversation_graph
from graphs.state import ConversationState, graph_input
from models.chat import engine_of
from models.embedder import Embedder
from prompts.loader import prompt_refs
from tools.context import Knowledge, RunContext


async def run_cases(
    database: Database,
    tenant_id: TenantId,
    cases: Sequence[Case],
    *,
    chat_model: BaseChatModel,
    embedder: Embedder,
    profile: Mapping[str, Any] | None = None,
    knowledge: Knowledge | None = None,
) -> Report:
    """Run the cases one after the other and score them. `profile` is the tenant's, as its settings hold it.

    Raises:
        DatabaseUnavailable: the database did not answer.
        ChowkError: whatever a turn may raise; an evaluation that cannot run has no report.
    """
    results: list[Result] = []
    for case in cases:
        context = RunContext(
            database=database,
            tenant_id=tenant_id,
            run_id=RunId(new_id("run")),
            fence=0,
            embedder=embedder,
            chat_model=chat_model,
            knowledge=knowledge,
        )
        outcome = await _run_case(case, context, profile or {})
        results.append(Result(case, outcome, score(case, outcome)))
    return Report(engine_of(chat_model), prompt_refs(), results)


async def _run_case(case: Case, context: RunContext, profile: Mapping[str, Any]) -> Outcome:
    began = time.perf_counter()
    state = await build_conversation_graph(InMemorySaver()).ainvoke(
        graph_input(_turn(case, context, profile)),
        {"configurable": {"thread_id": context.run_id}, "metadata": {"run_id": context.run_id}},
        context=context,
        durability="sync",
    )
    return _outcome(ConversationState(**state), duration_ms=(time.perf_counter() - began) * 1000)


def _outcome(state: ConversationState, *, duration_ms: float) -> Outcome:
    decision, recalled = state["decision"], state["recalled"]
    assert decision is not None
    sends = [effect for effect in state["effects"] if effect["kind"] == "send"]
    return Outcome(
        decision=decision,
        text="\n\n".join(str(send["message"]["text"]) for send in sends),
        cited=tuple(dict.fromkeys(citation["article_id"] for send in sends for citation in send["citations"])),
        passages=tuple(recalled["passages"]) if recalled else (),
        duration_ms=duration_ms,
    )


def _turn(case: Case, context: RunContext, profile: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    return {
        "tenant_id": context.tenant_id,
        "conversation_id": context.run_id,
        "contact_id": context.run_id,
        "account_id": context.run_id,
        "channel": "whatsapp",
        "run_id": context.run_id,
        "graph_version": GRAPH_VERSION,
        "prompt_refs": prompt_refs(),
        "recipient": {"kind": "wa_id", "value": "15550100"},
        "owner": case.owner,
        "profile": dict(profile),
        "trigger": [_message(number, text) for number, text in enumerate(case.messages, start=1)],
        "messages": [
            {"role": "user" if said.author == "contact" else "assistant", "content": said.text} for said in case.given
        ],
        "summary": "",
        "waiting": [],
        "finished": [],
    }


def _message(number: int, text: str) -> dict[str, Any]:  # Any: JSON
    return {
        "message_id": f"message {number}",
        "provider_message_id": None,
        "kind": "text" if text else "image",
        "text": text or None,
        "payload": None,
        "attachments": [],
        "provider_ts": None,
        "reply_to": None,
    }
