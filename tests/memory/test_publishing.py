import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import RequestInvalid
from core.ids import TenantId
from db.pools import Database
from db.transactions import tenant_tx
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import Vectors, local_embedder
from tests.builders import rows
from tests.memory.conftest import ReadingEmbedder, WordlessEmbedder, an_article

COUNTED = "SELECT language, lexeme, chunks FROM knowledge_lexemes"
RECOUNTED = """
SELECT language, lexeme, count(*)::int AS chunks FROM knowledge_terms, unnest(terms) GROUP BY language, lexeme
UNION ALL
SELECT language, '', count(*)::int FROM knowledge_terms GROUP BY language
"""

SAYINGS = ("receipt", "donor", "camp", "pan", "80G", "12A/80G", "don't", "\\", "it's", "रसीद")
WORDS = st.lists(st.sampled_from(SAYINGS), min_size=1, max_size=9)
PARAGRAPHS = st.lists(WORDS.map(lambda words: f"An {' '.join(words)}."), min_size=1, max_size=3)
ARTICLES = st.builds(
    an_article,
    st.sampled_from("abcd"),
    title=WORDS.map(" ".join),
    body=PARAGRAPHS.map(lambda paragraphs: "In English letters all of it is. " + "\n\n".join(paragraphs)),
    questions=st.lists(st.sampled_from(["where is my receipt?", "when is the camp?"]), max_size=2).map(tuple),
    language=st.sampled_from(["en", "fr"]),
)
PUBLICATIONS = st.lists(
    st.tuples(st.lists(ARTICLES, max_size=4, unique_by=lambda article: article.id), st.booleans()),
    min_size=1, max_size=4,
)  # fmt: skip


def sorted_counts(found: Sequence[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return sorted((row["language"], row["lexeme"], row["chunks"]) for row in found)


async def counts_are_exact(database: Database, tenant: TenantId) -> bool:
    counted, recounted = await rows(database, tenant, COUNTED), await rows(database, tenant, RECOUNTED)
    return sorted_counts(counted) == sorted_counts(recounted)


@given(PUBLICATIONS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_counts_of_lexemes_stay_exact_whatever_is_published(
    database: Database, tenant: TenantId, publications: list[tuple[list[Article], bool]]
) -> None:
    for articles, remove_others in publications:
        await publish_articles(database, tenant, articles, WordlessEmbedder(), remove_others=remove_others)
        assert await counts_are_exact(database, tenant)
    await publish_articles(database, tenant, [], WordlessEmbedder(), remove_others=True)
    assert await rows(database, tenant, COUNTED) == []
    assert await rows(database, tenant, "SELECT id FROM knowledge_chunks") == []


async def test_publishers_at_the_same_time_count_each_other_s_chunks(database: Database, tenant: TenantId) -> None:
    batches = [[an_article(f"{letter}", body=f"Receipt {number}.") for letter in "abc"] for number in range(6)]
    await asyncio.gather(*(publish_articles(database, tenant, batch, WordlessEmbedder()) for batch in batches))
    assert await counts_are_exact(database, tenant)
    assert len(await rows(database, tenant, "SELECT id FROM knowledge_articles")) == 3


async def test_an_article_is_stored_as_it_was_written(database: Database, tenant: TenantId) -> None:
    body = "First “paragraph”:  with\ttwo spaces.\n\nSecond: रसीद & <b>.\n"
    article = an_article(
        "a", body=body, tags=("x", 'y"z'), questions=("What's it?", "क्या है?"), updated=date(2026, 10, 5)
    )
    report = await publish_articles(database, tenant, [article], ReadingEmbedder())
    assert (report.published, report.unchanged, report.removed) == (["a"], [], [])
    [stored] = await rows(database, tenant, "SELECT * FROM knowledge_articles")
    assert (stored["body"], stored["tags"], stored["questions"]) == (body, ["x", 'y"z'], ["What's it?", "क्या है?"])
    assert stored["updated"] == date(2026, 10, 5)
    chunks = await rows(database, tenant, "SELECT text FROM knowledge_chunks ORDER BY position")
    assert [chunk["text"] for chunk in chunks] == ["First “paragraph”:  with\ttwo spaces.", "Second: रसीद & <b>."]


async def test_an_unchanged_article_costs_nothing(database: Database, tenant: TenantId) -> None:
    embedder = ReadingEmbedder()
    articles = [an_article("a"), an_article("b", body="Camps are free.")]
    await publish_articles(database, tenant, articles, embedder)
    before = await rows(database, tenant, "SELECT id, published_at FROM knowledge_articles ORDER BY id")
    embedder.given.clear()
    report = await publish_articles(database, tenant, articles, embedder)
    assert (report.published, report.unchanged) == ([], ["a", "b"])
    assert embedder.given == []
    assert await rows(database, tenant, "SELECT id, published_at FROM knowledge_articles ORDER BY id") == before


@pytest.mark.parametrize(
    "change",
    [{"title": "New"}, {"body": "New."}, {"questions": ("New?",)}, {"tags": ("new",)}, {"updated": date(2026, 1, 1)}],
)
async def test_whatever_changes_in_an_article_is_published(
    database: Database, tenant: TenantId, change: dict[str, Any]
) -> None:
    embedder = ReadingEmbedder()
    await publish_articles(database, tenant, [an_article("a"), an_article("b")], embedder)
    embedder.given.clear()
    report = await publish_articles(database, tenant, [an_article("a", **change), an_article("b")], embedder)
    assert (report.published, report.unchanged) == (["a"], ["b"])
    assert len(embedder.given) == 1
    assert await counts_are_exact(database, tenant)


async def test_another_embedder_embeds_everything_again(database: Database, tenant: TenantId) -> None:
    await publish_articles(database, tenant, [an_article("a")], ReadingEmbedder())
    report = await publish_articles(database, tenant, [an_article("a")], ReadingEmbedder(name="newer"))
    assert report.published == ["a"]
    assert await rows(database, tenant, "SELECT model FROM knowledge_vectors") == [{"model": "newer"}]


async def test_others_are_removed_only_when_asked_to(database: Database, tenant: TenantId) -> None:
    await publish_articles(database, tenant, [an_article("a"), an_article("b")], WordlessEmbedder())
    kept = await publish_articles(database, tenant, [an_article("a")], WordlessEmbedder())
    assert kept.removed == []
    gone = await publish_articles(database, tenant, [an_article("a")], WordlessEmbedder(), remove_others=True)
    assert (gone.unchanged, gone.removed) == (["a"], ["b"])
    assert await rows(database, tenant, "SELECT id FROM knowledge_articles") == [{"id": "a"}]


async def test_questions_belong_to_the_first_chunk(database: Database, tenant: TenantId) -> None:
    embedder = ReadingEmbedder()
    article = an_article("a", title="Camps", body="They are free.\n\nBring reports.", questions=("Do I pay?",))
    await publish_articles(database, tenant, [article], embedder)
    assert [text.strip() for text in embedder.given] == ["Camps. They are free. Do I pay?", "Camps. Bring reports."]
    terms = await rows(database, tenant, "SELECT terms::text FROM knowledge_terms ORDER BY chunk_id")
    assert ["'pay'" in row["terms"] for row in terms] == [True, False]
    assert ["'camp'" in row["terms"] for row in terms] == [True, True]


async def test_what_the_embedder_cannot_read_gets_no_vector(database: Database, tenant: TenantId) -> None:
    hindi = an_article("hi", language="hi", title="रसीद", body="रसीद दो दिन में मिलती है।")
    await publish_articles(database, tenant, [hindi, an_article("en")], local_embedder())
    found = await rows(
        database, tenant,
        "SELECT article_id FROM knowledge_vectors JOIN knowledge_chunks ON id = chunk_id",
    )  # fmt: skip
    assert found == [{"article_id": "en"}]
    [terms] = await rows(database, tenant, "SELECT terms::text FROM knowledge_terms WHERE language = 'hi'")
    assert "'मिल'" in terms["terms"]


async def test_a_very_long_sentence_can_be_published(database: Database, tenant: TenantId) -> None:
    rng = np.random.default_rng(7)
    body = " ".join(f"w{number}" for number in rng.integers(0, 10**9, 6_000)) + "."
    await publish_articles(database, tenant, [an_article("a", body=body)], WordlessEmbedder())
    [terms] = await rows(database, tenant, "SELECT length(terms) AS lexemes FROM knowledge_terms")
    assert terms["lexemes"] > 5_900
    assert await counts_are_exact(database, tenant)


async def test_one_unfit_article_keeps_all_of_them_out(database: Database, tenant: TenantId) -> None:
    with pytest.raises(RequestInvalid):
        await publish_articles(database, tenant, [an_article("a"), an_article("b", title="")], WordlessEmbedder())
    assert await rows(database, tenant, "SELECT id FROM knowledge_articles") == []


async def test_no_transaction_is_open_while_texts_are_embedded(database: Database, tenant: TenantId) -> None:
    class Looking(ReadingEmbedder):
        async def embed(self, texts: Sequence[str]) -> Vectors:
            statistics = database.app.get_stats()
            assert statistics["pool_available"] == statistics["pool_size"]
            async with tenant_tx(database, tenant, commit="test") as connection:
                await connection.execute("LOCK TABLE knowledge_lexemes IN SHARE ROW EXCLUSIVE MODE NOWAIT")
            return await super().embed(texts)

    report = await publish_articles(database, tenant, [an_article("a")], Looking())
    assert report.published == ["a"]
