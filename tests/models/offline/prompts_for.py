"""Prompts for the offline model with passages and searches as a turn has them."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from tools.knowledge import tagged


def a_passage(
    chunk_id: int = 1,
    *,
    article_id: str = "tax",
    title: str = "Tax receipts",
    text: str = "You get a tax receipt for every donation. It comes by e-mail.",
    position: int = 0,
    found_for: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id, "article_id": article_id, "title": title, "text": text, "position": position,
        "language": "en", "found_for": list(found_for),
    }  # fmt: skip


def a_match(
    search: int = 1,
    *,
    similarity: float = 0.8,
    coverage: float = 0.8,
    score: float = 2.0,
    likeness: float = 0.0,
    rank: int = 1,
) -> dict[str, Any]:
    return {
        "search": search, "score": score, "similarity": similarity, "coverage": coverage, "likeness": likeness,
        "rank": rank,
    }  # fmt: skip


def a_search(search: int, text: str, *, kind: str = "message", messages: Sequence[int] = ()) -> dict[str, Any]:
    return {"search": search, "text": text, "messages": list(messages) or [search], "kind": kind}


def a_reply_prompt(
    searches: Sequence[dict[str, Any]], passages: Sequence[dict[str, Any]], *, window: Sequence[tuple[str, str]] = ()
) -> list[BaseMessage]:
    """`window` holds earlier messages as (`user` or `assistant`, text)."""
    earlier = [HumanMessage(text) if role == "user" else AIMessage(text) for role, text in window]
    texts = [{"message": entry["search"], "text": entry["text"]} for entry in searches]
    blocks = tagged("searches", searches) + tagged("passages", passages)
    system = SystemMessage(f"Quote what stands between <passages> and </passages>. {blocks}")
    return [system, *earlier, HumanMessage(tagged("messages", texts), name="turn")]
