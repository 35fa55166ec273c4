"""How good the search is on the demo organisation's articles: floors a little under what was measured.

Measured: of 27 questions 25 have the right article first and all among the first three; of 95 others 78 and 92; of 35
that ask for a detail 24 have the right paragraph first and 32 among the first three. With the mean of similarity and
coverage of the first passage at 0.45 or more, 68 of the 95 are accepted, 66 of them rightly; of 63 questions that
nothing answers 2 are. At 0.40 it is 74, 67 and 2.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.ids import TenantId
from db.pools import Database
from db.transactions import tenant_tx
from memory.knowledge import Passage, prepare_questions, search
from models.embedder import local_embedder
from sandbox.demo.content import HAND_OFF, load_articles, load_questions

PASSAGES_MAX = 6
GROUNDED = 0.45
MORE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "fixtures" / "asha_questions.yaml").read_text())


async def passages_for(database: Database, asha: TenantId, questions: Sequence[tuple[str, str]]) -> list[list[Passage]]:
    found: list[list[Passage]] = []
    for text, language in questions:
        prepared = await prepare_questions([text], local_embedder())
        async with tenant_tx(database, asha, commit="test") as connection:
            found += await search(connection, prepared, language=language, limit=PASSAGES_MAX)
    return found


def hits(names: Sequence[Sequence[str]], wanted: Sequence[set[str]], *, places: int) -> float:
    """The share of questions for which one of the wanted is among the first `places` different names."""
    pairs = zip(names, wanted, strict=True)
    return sum(bool(set(list(dict.fromkeys(found))[:places]) & right) for found, right in pairs) / len(wanted)


def grounding(passages: Sequence[Passage]) -> float:
    return (passages[0].vector_similarity + passages[0].coverage) / 2 if passages else 0.0


@pytest.fixture(scope="module")
def known_ids() -> set[str]:
    return {article.id for article in load_articles("asha")}


async def test_the_right_article_comes_first_for_what_customers_ask(database: Database, asha: TenantId) -> None:
    asked = [one for one in load_questions("asha") if one.answer != HAND_OFF]
    found = await passages_for(database, asha, [(one.question, one.language) for one in asked])
    names = [[passage.article_id for passage in passages] for passages in found]
    wanted = [{one.answer, *one.also} for one in asked]
    assert hits(names, wanted, places=1) >= 0.85
    assert hits(names, wanted, places=3) >= 0.96


async def test_the_right_article_comes_first_for_other_words(
    database: Database, asha: TenantId, known_ids: set[str]
) -> None:
    wanted = [set(one["any_of"]) for one in MORE["answers"]]
    assert set().union(*wanted) <= known_ids
    found = await passages_for(database, asha, [(one["question"], "en") for one in MORE["answers"]])
    names = [[passage.article_id for passage in passages] for passages in found]
    assert hits(names, wanted, places=1) >= 0.80
    assert hits(names, wanted, places=3) >= 0.94


async def test_the_paragraph_that_holds_a_detail_is_among_the_first(database: Database, asha: TenantId) -> None:
    wanted = [set(one["any_of"]) for one in MORE["passages"]]
    found = await passages_for(database, asha, [(one["question"], "en") for one in MORE["passages"]])
    names = [[f"{passage.article_id}:{passage.position}" for passage in passages] for passages in found]
    assert hits(names, wanted, places=1) >= 0.55
    assert hits(names, wanted, places=3) >= 0.82


async def test_nearness_and_coverage_tell_answers_from_the_rest(database: Database, asha: TenantId) -> None:
    right = [set(one["any_of"]) for one in MORE["answers"]]
    answers = await passages_for(database, asha, [(one["question"], "en") for one in MORE["answers"]])
    accepted = [
        passages[0].article_id in wanted
        for passages, wanted in zip(answers, right, strict=True)
        if grounding(passages) >= GROUNDED
    ]
    assert sum(accepted) / len(right) >= 0.60
    assert sum(accepted) / len(accepted) >= 0.93
    rest = [(question, "en") for question in (*MORE["unrelated"], *MORE["unanswered"])]
    rest += [(one.question, one.language) for one in load_questions("asha") if one.answer == HAND_OFF]
    wrongly = [passages for passages in await passages_for(database, asha, rest) if grounding(passages) >= GROUNDED]
    assert len(wrongly) / len(rest) <= 0.05
