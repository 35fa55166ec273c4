import json
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from core.ids import TenantId
from db.pools import Database
from memory.articles import Article
from memory.knowledge import Passage
from memory.publishing import publish_articles
from models.embedder import local_embedder
from tests.graphs.turns import a_context, a_passage
from tools.knowledge import merge, search_knowledge, tagged


class TwoSearches:
    async def search(self, queries: Sequence[str], **_: object) -> list[list[Passage]]:
        near = a_passage("tax-receipt", chunk_id=1, similarity=0.9, shared=0.5)
        far = replace(near, vector_similarity=0.2, score=0.2)
        return [[near, a_passage("refund", chunk_id=2)], [far]][: len(queries)]


async def test_a_passage_found_by_two_searches_stands_once_with_both_reasons() -> None:
    found = await search_knowledge(a_context(knowledge=TwoSearches()), ["tax?", "receipt?"], language="en")
    assert [passage["chunk_id"] for passage in found] == [1, 2]
    assert [(match["search"], match["rank"], match["similarity"]) for match in found[0]["found_for"]] == [
        (1, 1, 0.9),
        (2, 1, 0.2),
    ]
    assert found[0]["similarity"] == 0.9


async def test_nothing_asked_is_nothing_searched() -> None:
    assert await search_knowledge(a_context(knowledge=None), [], language="en") == []


async def test_stored_articles_are_found_for_their_tenant(database: Database, tenant: TenantId) -> None:
    article = Article(
        id="office-pune", title="Our office in Pune", language="en",
        body="The Pune office is at 12 Karve Road, Deccan. It is open from 10 to 5.",
        tags=("office",), questions=("Where is your Pune office?", "Pune address"),
    )  # fmt: skip
    await publish_articles(database, tenant, [article], local_embedder())
    context = replace(a_context(), database=database, tenant_id=tenant, embedder=local_embedder(), knowledge=None)
    [passage, *_] = await search_knowledge(context, ["pune office address?"], language="en")
    assert passage["article_id"] == "office-pune"
    assert "12 Karve Road" in passage["text"]
    assert passage["position"] == 0
    assert passage["found_for"][0]["coverage"] > 0
    assert passage["found_for"][0]["likeness"] == 0.8
    assert json.loads(json.dumps(passage)) == passage


def test_of_a_passage_that_is_known_the_first_entry_stands() -> None:
    first = {"chunk_id": 1, "text": "a"}
    assert merge([first], [{"chunk_id": 1, "text": "b"}, {"chunk_id": 2, "text": "c"}]) == [  # type: ignore[list-item]
        first,
        {"chunk_id": 2, "text": "c"},
    ]


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_value_can_close_the_tag_that_it_stands_in(value: object) -> None:
    block = tagged("messages", value)
    inner = block.removeprefix("<messages>").removesuffix("</messages>")
    assert "<" not in inner
    assert json.loads(inner) == value
