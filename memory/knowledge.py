"""Searching an organisation's articles: questions in, the passages that may answer them out, in one round trip.

Two lists are made for each question and added: the chunks whose vectors lie nearest, by an exact scan, and the chunks
that hold its rarest words. Each list is scaled to its best entry first. A question in a script that the embedder cannot
read has the second list only, and is answered from articles in its own script.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from db.pools import Connection
from memory.languages import CONFIGURATIONS, SCRIPTS, script_of
from memory.search_text import search_text
from models.embedder import Embedder
from models.offline.stopwords import matter_of

#: How much of a question is read; more says nothing new and costs time.
QUESTION_CHARACTERS_MAX = 2_000
#: Nearest chunks that enter the vectors' list.
NEAREST_MAX = 50
#: Chunks that enter the words' list.
WORDY_MAX = 200
#: How many of the question's words are looked up, the rarest first.
LEXEMES_MAX = 6
#: A word that stands in a larger share of the chunks tells them too little apart for what it costs ...
LEXEME_SHARE_MAX = 0.25
#: ... unless that is still fewer chunks than these: a small tenant has no rare words.
LEXEME_CHUNKS_MIN = 8
#: Weight of a word in the text, of no use here, in the article's questions, and in its title (tsvector D, C, B, A).
WEIGHTS = (0.3, 0.0, 0.4, 0.8)
#: What a chunk is worth for standing beside one that was found.
NEIGHBOUR_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Question:
    """A text to find passages for. `vector` is None where the embedder cannot read it."""

    text: str
    vector: NDArray[np.float32] | None
    #: The embedder; vectors of another one are not compared.
    model: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of an article, word for word, and why it was found."""

    chunk_id: int
    article_id: str
    title: str
    text: str
    #: Place of the chunk in its article, from 0.
    position: int
    language: str
    #: The rank: 0 to 2, and relative to the other passages of this question, so no measure of whether it answers.
    score: float
    #: Cosine of the two vectors, -1 to 1; 0 where one of the two could not be read.
    vector_similarity: float
    #: Sum over the rare words of the question: rarity times weight in this chunk.
    text_score: float
    #: The share of the question, by rarity of its words, that stands in this chunk, its title or its questions; 0 to 1.
    coverage: float
    #: The questions that its article is said to answer.
    questions: Sequence[str] = ()


async def prepare_questions(texts: Sequence[str], embedder: Embedder) -> list[Question]:
    """Embed the questions, all in one go and before a transaction is opened."""
    cut = [text[:QUESTION_CHARACTERS_MAX] for text in texts]
    readable = [number for number, text in enumerate(cut) if embedder.reads(text)]
    vectors = dict(zip(readable, await embedder.embed([cut[number] for number in readable]), strict=True))
    return [Question(text, vectors.get(number), embedder.name) for number, text in enumerate(cut)]


_SEARCH = """
WITH asked AS (
    SELECT *
    FROM jsonb_to_recordset(%(questions)s::jsonb) AS q (number int, text text, script text, vector vector, model text)
), languages AS (
    -- The languages that this tenant has chunks in, and how many.
    SELECT language, chunks::float8 AS total, coalesce(%(scripts)s::jsonb ->> language, 'latin') AS script,
        coalesce(%(configurations)s::jsonb ->> language, 'simple')::regconfig AS configuration
    FROM knowledge_lexemes WHERE lexeme = ''
), words AS (
    SELECT asked.number, language, total, lexeme, coalesce(known.chunks, 0) AS chunks,
        ln(1 + (total - coalesce(known.chunks, 0) + 0.5) / (coalesce(known.chunks, 0) + 0.5)) AS rarity,
        ('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''')::tsquery AS query
    FROM asked
    JOIN languages USING (script)
    CROSS JOIN LATERAL unnest(to_tsvector(configuration, asked.text)) AS word (lexeme, positions, weights)
    LEFT JOIN knowledge_lexemes known USING (lexeme, language)
), rarest AS (
    -- The rarest word counts however often it stands; else a question of common words would find nothing.
    SELECT number, language, rarity, query
    FROM (
        SELECT *, row_number() OVER (PARTITION BY number, language ORDER BY chunks, lexeme) AS place
        FROM words WHERE chunks > 0
    ) AS known
    WHERE place = 1
        OR (place <= %(lexemes_max)s AND chunks < greatest(total * %(lexeme_share_max)s, %(lexeme_chunks_min)s))
), by_words AS (
    SELECT number, chunk_id, text_score
    FROM (
        SELECT number, chunk_id, text_score,
            row_number() OVER (PARTITION BY number ORDER BY text_score DESC, chunk_id) AS place
        FROM (
            SELECT number, chunk_id, sum(rarity * ts_rank(%(weights)s::float4[], terms, query)) AS text_score
            FROM rarest JOIN knowledge_terms USING (language)
            WHERE terms @@ query
            GROUP BY number, chunk_id
        ) AS holding
    ) AS ranked
    WHERE place <= %(wordy_max)s
), by_nearness AS (
    SELECT number, chunk_id, similarity
    FROM asked CROSS JOIN LATERAL (
        SELECT chunk_id, -(embedding <#> asked.vector) AS similarity
        FROM knowledge_vectors v WHERE v.model = asked.model
        ORDER BY embedding <#> asked.vector LIMIT %(nearest_max)s
    ) AS nearest
    WHERE asked.vector IS NOT NULL
), scored AS (
    SELECT number, chunk_id, sum(part) AS score
    FROM (
        SELECT number, chunk_id, text_score / max(text_score) OVER (PARTITION BY number) AS part FROM by_words
        UNION ALL
        SELECT number, chunk_id,
            greatest(similarity, 0) / greatest(max(similarity) OVER (PARTITION BY number), 1e-6) FROM by_nearness
    ) AS parts
    GROUP BY number, chunk_id
), best AS (
    SELECT number, chunk_id, score
    FROM (
        SELECT *, row_number() OVER (PARTITION BY number ORDER BY score DESC, chunk_id) AS place FROM scored
    ) AS ranked
    WHERE place <= %(limit)s
), surrounded AS (
    SELECT number, chunk_id, max(score) AS score
    FROM (
        SELECT * FROM best
        UNION ALL
        SELECT number, beside.id, score * %(neighbour_weight)s
        FROM best CROSS JOIN LATERAL (
            SELECT near.id
            FROM knowledge_chunks hit JOIN knowledge_chunks near USING (article_id)
            WHERE hit.id = best.chunk_id AND near.position IN (hit.position - 1, hit.position + 1)
            LIMIT 2
        ) AS beside
    ) AS all_of_them
    GROUP BY number, chunk_id
), top AS (
    SELECT *, row_number() OVER (PARTITION BY number ORDER BY score DESC, chunk_id) AS place FROM surrounded
)
SELECT top.number, top.chunk_id, a.id AS article_id, a.title, a.questions, c.text, c.position, a.language,
    top.score::float8 AS score,
    coalesce(-(v.embedding <#> asked.vector), 0) AS vector_similarity,
    coalesce(text_score, 0)::float8 AS text_score,
    coalesce((
        SELECT sum(rarity) FILTER (WHERE t.terms @@ words.query) / sum(rarity)
        FROM words WHERE words.number = top.number AND words.language = t.language
    ), 0)::float8 AS coverage
FROM top
JOIN asked USING (number)
JOIN knowledge_chunks c ON c.id = top.chunk_id
JOIN knowledge_articles a ON a.id = c.article_id
JOIN knowledge_terms t ON t.chunk_id = c.id
LEFT JOIN knowledge_vectors v ON v.chunk_id = c.id AND v.model = asked.model
LEFT JOIN by_words w ON w.number = top.number AND w.chunk_id = top.chunk_id
WHERE place <= %(limit)s
ORDER BY top.number, place
"""


async def search(
    connection: Connection, questions: Sequence[Question], *, language: str, limit: int
) -> list[list[Passage]]:
    """The best `limit` passages for each question, best first; neighbours of what was found fill up the end.

    `language` is the conversation's: it decides where a question, such as "1098?", has no script of its own.
    """
    if not questions:
        return []
    asked = [_row(number, question, language) for number, question in enumerate(questions)]
    cursor = await connection.execute(
        _SEARCH,
        {
            "questions": json.dumps(asked),
            "scripts": json.dumps(dict(SCRIPTS)),
            "configurations": json.dumps(dict(CONFIGURATIONS)),
            "lexemes_max": LEXEMES_MAX,
            "lexeme_share_max": LEXEME_SHARE_MAX,
            "lexeme_chunks_min": LEXEME_CHUNKS_MIN,
            "weights": list(WEIGHTS),
            "nearest_max": NEAREST_MAX,
            "wordy_max": WORDY_MAX,
            "neighbour_weight": NEIGHBOUR_WEIGHT,
            "limit": limit,
        },
    )
    found: list[list[Passage]] = [[] for _ in questions]
    for row in await cursor.fetchall():
        found[row.pop("number")].append(Passage(**row))
    return found


def _row(number: int, question: Question, language: str) -> dict[str, object]:
    return {
        "number": number,
        "text": search_text(matter_of(question.text)),
        "script": script_of(question.text, language=language),
        "vector": None if question.vector is None else Vector(question.vector).to_text(),
        "model": question.model,
    }
