"""Looking things up in the organisation's own articles: for the turn as a whole, and as a tool of an agent."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from db.transactions import tenant_tx
from memory.knowledge import Passage, prepare_questions, search
from models.offline.grounding import likeness
from models.offline.language import language_of
from tools.context import AgentContext, RunContext

PASSAGES_PER_QUERY = 4
TOOL_QUERY_CHARACTERS_MAX = 500
#: The number that a search made by an agent itself has in `found_for`; the turn's own begin at 1.
TOOL_SEARCH = 0


class Match(TypedDict):
    """Why a passage was found. `search` is the place (from 1) of the query; the figures are raw, not ranks."""

    search: int
    #: What the search ranks by: nearness and words together.
    score: float
    #: Cosine of the query's and the passage's vectors, -1 to 1.
    similarity: float
    #: The share of the query, by rarity of its words, that stands in the passage, its title or its questions, 0 to 1.
    coverage: float
    #: How alike the query and the nearest of the article's own questions are, by their words of matter, 0 to 1.
    likeness: float
    #: Place among the results of this search, from 1.
    rank: int


class RecalledPassage(TypedDict):
    """A passage of an article as the state, the prompt and the guard see it."""

    chunk_id: int
    article_id: str
    title: str
    text: str
    #: Place of the passage in its article, from 0: by convention the first answers the article's main question.
    position: int
    language: str
    #: The best over all searches.
    score: float
    similarity: float
    found_for: list[Match]


async def search_knowledge(
    context: RunContext, queries: Sequence[str], *, language: str, limit: int = PASSAGES_PER_QUERY, first: int = 1
) -> list[RecalledPassage]:
    """Find passages for each query; a passage found by several stands once. Queries are numbered from `first`.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    if not queries:
        return []
    if context.knowledge is not None:
        found = await context.knowledge.search(queries, language=language, limit=limit)
    else:
        found = await _search_stored(context, queries, language=language, limit=limit)
    merged: dict[int, RecalledPassage] = {}
    for number, (query, passages) in enumerate(zip(queries, found, strict=True), start=first):
        for rank, passage in enumerate(passages, start=1):
            entry = merged.setdefault(passage.chunk_id, _recalled(passage))
            entry["found_for"].append(_match(passage, query, search=number, rank=rank))
            entry["score"] = max(entry["score"], round(passage.score, 4))
            entry["similarity"] = max(entry["similarity"], round(passage.vector_similarity, 4))
    return list(merged.values())


def merge(before: Sequence[RecalledPassage], found: Sequence[RecalledPassage]) -> list[RecalledPassage]:
    """Passages of two searches, each once; the earlier entry of a passage stands."""
    known = {passage["chunk_id"] for passage in before}
    return [*before, *(passage for passage in found if passage["chunk_id"] not in known)]


class SearchArguments(BaseModel):
    """What a model gives to search."""

    query: str = Field(
        min_length=1, max_length=TOOL_QUERY_CHARACTERS_MAX, description="What to look for, in full words"
    )


async def search_again(query: str, runtime: ToolRuntime[AgentContext, Any]) -> tuple[str, list[RecalledPassage]]:
    """Give the passages as the model reads them, and as the guard checks them."""
    found = await search_knowledge(
        runtime.context.run, [query], language=language_of(query, default="en"), first=TOOL_SEARCH
    )
    return tagged("passages", found), found


@cache
def search_knowledge_tool() -> BaseTool:
    """The tool `search_knowledge`. Its arguments are declared: the runtime is injected and no model's to give."""
    return StructuredTool.from_function(
        coroutine=search_again,
        name="search_knowledge",
        description="Search the organisation's articles again, with other words than the person's. Gives passages.",
        args_schema=SearchArguments,
        response_format="content_and_artifact",
    )


def tagged(tag: str, value: object) -> str:
    """`value` as JSON between `<tag>` and `</tag>`; no `<` inside it can close the tag or open another."""
    block = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        block = block.replace(sign, f"\\u{ord(sign):04x}")
    return f"<{tag}>{block}</{tag}>"


async def _search_stored(
    context: RunContext, queries: Sequence[str], *, language: str, limit: int
) -> list[list[Passage]]:
    questions = await prepare_questions(queries, context.embedder)
    async with tenant_tx(context.database, context.tenant_id, commit="knowledge.search") as connection:
        return await search(connection, questions, language=language, limit=limit)


def _recalled(passage: Passage) -> RecalledPassage:
    return RecalledPassage(
        chunk_id=passage.chunk_id,
        article_id=passage.article_id,
        title=passage.title,
        text=passage.text,
        position=passage.position,
        language=passage.language,
        score=round(passage.score, 4),
        similarity=round(passage.vector_similarity, 4),
        found_for=[],
    )


def _match(passage: Passage, query: str, *, search: int, rank: int) -> Match:
    return Match(
        search=search,
        score=round(passage.score, 4),
        similarity=round(passage.vector_similarity, 4),
        coverage=round(passage.coverage, 4),
        likeness=round(likeness(query, passage.questions), 4),
        rank=rank,
    )
