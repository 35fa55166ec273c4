"""Turns of the conversation graph without a database: fixed passages, a saver in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver

from core.ids import RunId, TenantId, new_id
from graphs.conversation import GRAPH_VERSION, build_conversation_graph
from graphs.state import ConversationState, graph_input
from memory.knowledge import Passage
from models.embedder import LocalEmbedder
from models.offline.chat import OfflineChatModel
from models.offline.grounding import coverage
from prompts.loader import prompt_refs
from tools.context import RunContext

ARTICLES: Mapping[str, tuple[str, str]] = {
    "tax-receipt": (
        "Tax receipts for donations (80G)",
        (
            "Yes. Every donation of ₹100 or more gets a tax receipt under section 80G if you give us your PAN. "
            "The receipt comes by e-mail within 2 working days."
        ),
    ),
    "volunteer": (
        "How to volunteer",
        (
            "Anyone above 18 can volunteer at our centres. Fill in the form at asha-foundation.example/volunteer "
            "or call +91 11 4000 0102."
        ),
    ),
    "office-pune": ("Our office in Pune", "The Pune office is at 12 Karve Road, Deccan. It is open from 10 to 5."),
    "refund": (
        "Refund of a donation",
        "A donation that was made by mistake is refunded within 7 days if you write to us.",
    ),
}


def a_passage(
    article_id: str, *, chunk_id: int, similarity: float = 0.9, shared: float = 1.0, text: str | None = None
) -> Passage:
    title, body = ARTICLES[article_id]
    return Passage(
        chunk_id=chunk_id, article_id=article_id, title=title, text=text or body, score=similarity,
        vector_similarity=similarity, text_score=similarity, coverage=shared, position=0, language="en",
    )  # fmt: skip


@dataclass
class FixedKnowledge:
    """Finds by shared words alone, in `ARTICLES`; remembers what was asked."""

    asked: list[list[str]] = field(default_factory=list)

    async def search(self, queries: Sequence[str], *, language: str, limit: int) -> list[list[Passage]]:
        del language  # one is all there is
        self.asked.append(list(queries))
        return [_found(query)[:limit] for query in queries]


def _found(query: str) -> list[Passage]:
    passages: list[Passage] = []
    for chunk_id, (article_id, (title, body)) in enumerate(ARTICLES.items(), start=1):
        shared = coverage(query, f"{title} {body}")
        passages.append(a_passage(article_id, chunk_id=chunk_id, similarity=0.2 + 0.6 * shared, shared=shared))
    return sorted(passages, key=lambda passage: -passage.vector_similarity)


def a_context(model: BaseChatModel | None = None, knowledge: Any = None) -> RunContext:
    return RunContext(
        database=cast("Any", None),
        tenant_id=TenantId(new_id("t")),
        run_id=RunId(new_id("run")),
        fence=1,
        embedder=LocalEmbedder(),
        chat_model=model or OfflineChatModel(),
        knowledge=knowledge or FixedKnowledge(),
    )


def a_message(text: str | None, *, kind: str = "text") -> dict[str, Any]:
    return {
        "message_id": new_id("msg"), "provider_message_id": new_id("wamid"), "kind": kind, "text": text,
        "payload": None, "attachments": [], "provider_ts": None, "reply_to": None,
    }  # fmt: skip


def a_turn(*texts: str, given: Sequence[tuple[str, str]] = (), **fields: Any) -> dict[str, Any]:
    """The stored input of a turn. `given` are earlier messages as (`user` or `assistant`, text)."""
    values = {
        "tenant_id": "t", "conversation_id": "cnv", "contact_id": "con", "account_id": "acc", "channel": "whatsapp",
        "run_id": "run", "graph_version": GRAPH_VERSION, "prompt_refs": prompt_refs(),
        "recipient": {"kind": "wa_id", "value": "919800000001"}, "owner": "agent",
        "profile": {"name": "Asha Foundation", "languages": ["en", "hi", "ta"]},
        "trigger": [a_message(text) for text in texts],
        "messages": [{"role": role, "content": text} for role, text in given],
        "summary": "", "waiting": [], "finished": [],
    }  # fmt: skip
    return values | fields


async def run_turn(
    turn: Mapping[str, Any],
    context: RunContext | None = None,
    *,
    saver: InMemorySaver | None = None,
    thread_id: str = "cnv",
    run_id: str | None = None,
) -> ConversationState:
    context = context or a_context()
    state = await build_conversation_graph(saver or InMemorySaver()).ainvoke(
        graph_input(turn),
        {
            "configurable": {"thread_id": thread_id},
            "metadata": {"run_id": run_id or context.run_id},
            "recursion_limit": 40,
        },
        context=context,
        durability="sync",
    )
    return cast("ConversationState", state)


def said(state: ConversationState) -> str:
    """What the person reads; "" for nothing."""
    sends = [effect for effect in state["effects"] if effect["kind"] == "send"]
    assert len(sends) <= 1
    return str(sends[0]["message"]["text"]) if sends else ""


def hand_off_reason(state: ConversationState) -> str | None:
    """Why a person takes over; None when none does."""
    return next((effect["reason"] for effect in state["effects"] if effect["kind"] == "hand_off"), None)
