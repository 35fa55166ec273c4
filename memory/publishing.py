"""Publishing an organisation's articles: they come in as people wrote them and become chunks that can be searched.

Texts are embedded before the transaction begins, so that none is held open meanwhile; an unchanged article costs
nothing. How often each lexeme occurs is kept exact in the transaction that changes it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from core.ids import TenantId
from db.pools import Connection, Database
from db.transactions import tenant_tx
from memory.articles import Article, refuse_unfit
from memory.chunks import chunks_of
from memory.languages import CONFIGURATIONS
from memory.search_text import search_text
from models.embedder import Embedder

#: Part of every article's hash: raise it when chunks, terms or vectors come to be made differently.
INDEXING = 2


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """A piece of a body, and the questions that it answers. `vector` is None where the embedder cannot read it."""

    text: str
    questions: Sequence[str]
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class PreparedArticle:
    """An article with all that the transaction stores."""

    article: Article
    content_sha256: str
    chunks: Sequence[PreparedChunk]


@dataclass(frozen=True, slots=True)
class PublishReport:
    """Ids of the articles that are new or changed, that stayed as they were, and that are gone."""

    published: list[str]
    unchanged: list[str]
    removed: list[str]


async def publish_articles(
    database: Database,
    tenant_id: TenantId,
    articles: Sequence[Article],
    embedder: Embedder,
    *,
    remove_others: bool = False,
) -> PublishReport:
    """Make these articles searchable, each in place of an older one with its id; all of them, or none.

    Args:
        database: the pools of this process.
        tenant_id: whose articles they are.
        articles: at most `memory.articles.ARTICLES_MAX`.
        embedder: the one that will embed the queries too.
        remove_others: remove the tenant's other articles in the same transaction.

    Raises:
        RequestInvalid: an article is empty, too long, given twice, or not in the language that it names.
        DatabaseUnavailable: the database did not answer; nothing was changed.
    """
    refuse_unfit(articles)
    hashes = {article.id: content_sha256(article, embedder) for article in articles}
    async with tenant_tx(database, tenant_id, commit="knowledge.compared") as connection:
        known = await published_hashes(connection)
    changed = [article for article in articles if known.get(article.id) != hashes[article.id]]
    gone = sorted(known.keys() - hashes.keys()) if remove_others else []
    prepared = await prepare_articles(changed, embedder)
    if prepared or gone:
        async with tenant_tx(database, tenant_id, commit="knowledge.published") as connection:
            await store_articles(connection, prepared, model=embedder.name, remove=gone)
    unchanged = [article.id for article in articles if known.get(article.id) == hashes[article.id]]
    return PublishReport([article.id for article in changed], unchanged, gone)


def content_sha256(article: Article, embedder: Embedder) -> str:
    """A hash of the article and of how it is indexed: while it stays the same there is nothing to do."""
    parts = [INDEXING, embedder.name, article.title, article.language, article.body, str(article.updated)]
    text = json.dumps([*parts, list(article.tags), list(article.questions)])
    return hashlib.sha256(text.encode()).hexdigest()


async def published_hashes(connection: Connection) -> dict[str, str]:
    """The hashes of the published articles, by id."""
    cursor = await connection.execute("SELECT id, content_sha256 FROM knowledge_articles")
    return {row["id"]: row["content_sha256"] for row in await cursor.fetchall()}


async def prepare_articles(articles: Sequence[Article], embedder: Embedder) -> list[PreparedArticle]:
    """Cut and embed; the longest part of publishing, and no transaction is open.

    The questions belong to the first chunk, and the title stands before every chunk. Measured on 157 questions: the
    right article came first as often with the questions at every chunk, but then mostly with a wrong paragraph.
    """
    chunks = [
        (article, text, tuple(article.questions) if position == 0 else ())
        for article in articles
        for position, text in enumerate(chunks_of(article.body))
    ]
    readable = [number for number, (_, text, _) in enumerate(chunks) if embedder.reads(text)]
    texts = [f"{article.title}. {text} {' '.join(questions)}" for article, text, questions in chunks]
    vectors = dict(zip(readable, await embedder.embed([texts[number] for number in readable]), strict=True))
    prepared: dict[str, list[PreparedChunk]] = {article.id: [] for article in articles}
    for number, (article, text, questions) in enumerate(chunks):
        prepared[article.id].append(PreparedChunk(text, questions, vectors.get(number)))
    return [PreparedArticle(article, content_sha256(article, embedder), prepared[article.id]) for article in articles]


#: The chunks of some articles count in each of their lexemes, and all of them in the empty one.
_COUNTS = """
    SELECT language, lexeme, count(*)::int AS chunks
    FROM (
        SELECT t.language, unnest('{""}'::text[] || tsvector_to_array(t.terms)) AS lexeme
        FROM knowledge_chunks c JOIN knowledge_terms t ON t.chunk_id = c.id
        WHERE c.article_id = ANY(%(ids)s)
    ) AS occurrences
    GROUP BY language, lexeme
"""

_UNCOUNT = f"""
UPDATE knowledge_lexemes l SET chunks = l.chunks - gone.chunks
FROM ({_COUNTS}) AS gone WHERE l.lexeme = gone.lexeme AND l.language = gone.language
"""

_COUNT = f"""
INSERT INTO knowledge_lexemes AS l (language, lexeme, chunks) {_COUNTS}
ON CONFLICT (lexeme, language) DO UPDATE SET chunks = l.chunks + excluded.chunks
"""

_STORE_ARTICLES = """
INSERT INTO knowledge_articles (id, title, language, tags, questions, body, content_sha256, updated)
SELECT id, title, language, tags, questions, body, content_sha256, updated
FROM jsonb_to_recordset(%(articles)s::jsonb) AS given (
    id text, title text, language text, tags text[], questions text[], body text, content_sha256 text, updated date
)
"""

_STORE_CHUNKS = """
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(chunks)s::jsonb) AS given (
        article_id text, position int, text text, language text, configuration regconfig,
        title_terms text, question_terms text, text_terms text, vector text
    )
), stored AS (
    INSERT INTO knowledge_chunks (article_id, position, text)
    SELECT article_id, position, text FROM given ORDER BY article_id, position
    RETURNING id, article_id, position
), vectors AS (
    INSERT INTO knowledge_vectors (chunk_id, model, embedding)
    SELECT stored.id, %(model)s, given.vector::vector
    FROM stored JOIN given USING (article_id, position) WHERE given.vector IS NOT NULL
)
INSERT INTO knowledge_terms (chunk_id, language, terms)
SELECT stored.id, language, setweight(to_tsvector(configuration, title_terms), 'A')
    || setweight(to_tsvector(configuration, question_terms), 'B') || to_tsvector(configuration, text_terms)
FROM stored JOIN given USING (article_id, position)
"""


async def store_articles(
    connection: Connection, prepared: Sequence[PreparedArticle], *, model: str, remove: Sequence[str] = ()
) -> None:
    """Replace these articles and remove those with the ids in `remove`; the counts of lexemes stay exact."""
    ids = [entry.article.id for entry in prepared]
    # Searches go on meanwhile; another publisher waits, or the two would count each other's chunks.
    await connection.execute("LOCK TABLE knowledge_lexemes IN SHARE ROW EXCLUSIVE MODE")
    await connection.execute(_UNCOUNT.encode(), {"ids": [*ids, *remove]})
    await connection.execute("DELETE FROM knowledge_articles WHERE id = ANY(%s)", ([*ids, *remove],))
    await connection.execute(_STORE_ARTICLES, {"articles": json.dumps([_article_row(entry) for entry in prepared])})
    chunks = [row for entry in prepared for row in _chunk_rows(entry)]
    await connection.execute(_STORE_CHUNKS, {"chunks": json.dumps(chunks), "model": model})
    await connection.execute(_COUNT.encode(), {"ids": ids})
    await connection.execute("DELETE FROM knowledge_lexemes WHERE chunks = 0")


def _article_row(entry: PreparedArticle) -> dict[str, object]:
    article = entry.article
    return {
        "id": article.id,
        "title": article.title,
        "language": article.language,
        "tags": list(article.tags),
        "questions": list(article.questions),
        "body": article.body,
        "content_sha256": entry.content_sha256,
        "updated": None if article.updated is None else article.updated.isoformat(),
    }


def _chunk_rows(entry: PreparedArticle) -> list[dict[str, object]]:
    article = entry.article
    return [
        {
            "article_id": article.id,
            "position": position,
            "text": chunk.text,
            "language": article.language,
            "configuration": CONFIGURATIONS.get(article.language, "simple"),
            "title_terms": search_text(article.title),
            "question_terms": search_text("\n".join(chunk.questions)),
            "text_terms": search_text(chunk.text),
            "vector": None if chunk.vector is None else Vector(chunk.vector).to_text(),
        }
        for position, chunk in enumerate(entry.chunks)
    ]
