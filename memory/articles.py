"""An organisation's article, and whether it can be published."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from core.errors import RequestInvalid
from memory.languages import LATIN, SCRIPTS, script_of

#: In one call: a transaction of this size takes seconds.
ARTICLES_MAX = 2_000
ID_CHARACTERS_MAX = 200
TITLE_CHARACTERS_MAX = 300
BODY_CHARACTERS_MAX = 100_000
QUESTIONS_MAX = 30
QUESTION_CHARACTERS_MAX = 300

_LANGUAGE = re.compile(r"[a-z]{2,3}")
#: What PostgreSQL cannot store: NUL and halves of surrogate pairs.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Article:
    """One piece of an organisation's knowledge: text in paragraphs, the first of which answers the title."""

    id: str
    title: str
    #: A code such as `en`, `hi` or `ta`; it must fit the script of the body.
    language: str
    body: str
    tags: Sequence[str] = ()
    #: What people ask, in their own words, and the first paragraph answers.
    questions: Sequence[str] = ()
    updated: date | None = None


def refuse_unfit(articles: Sequence[Article]) -> None:
    """Raise unless all of these can be published together.

    Raises:
        RequestInvalid: names the article and what is wrong with it.
    """
    if len(articles) > ARTICLES_MAX:
        raise RequestInvalid(f"{len(articles)} articles at once; publish at most {ARTICLES_MAX} in one call")
    if repeated := sorted(name for name, count in Counter(article.id for article in articles).items() if count > 1):
        raise RequestInvalid(f"articles {repeated} are given more than once; give each id once")
    for article in articles:
        if fault := _fault(article):
            raise RequestInvalid(f"article {article.id!r}: {fault}")


def _fault(article: Article) -> str | None:
    texts = (article.id, article.title, article.body, *article.tags, *article.questions)
    empty = not article.id or not article.title.strip() or not article.body.strip()
    long_name = len(article.id) > ID_CHARACTERS_MAX or len(article.title) > TITLE_CHARACTERS_MAX
    long_questions = any(len(text) > QUESTION_CHARACTERS_MAX for text in article.questions)
    checks = (
        (any(_UNSTORABLE.search(text) for text in texts), "holds a NUL or half of a surrogate pair; remove it"),
        (empty, "id, title or body is empty; give all three"),
        (long_name, f"an id has at most {ID_CHARACTERS_MAX} characters and a title {TITLE_CHARACTERS_MAX}; shorten it"),
        (
            len(article.body) > BODY_CHARACTERS_MAX,
            f"the body is over {BODY_CHARACTERS_MAX} characters; make it two articles",
        ),
        (
            long_questions or len(article.questions) > QUESTIONS_MAX,
            f"at most {QUESTIONS_MAX} questions of {QUESTION_CHARACTERS_MAX} characters each; leave some out",
        ),
        (
            not _LANGUAGE.fullmatch(article.language),
            f"language is {article.language!r}; give a code of two or three letters such as 'en' or 'hi'",
        ),
    )
    return next((fault for wrong, fault in checks if wrong), None) or _script_fault(article)


def _script_fault(article: Article) -> str | None:
    named, written = SCRIPTS.get(article.language, LATIN), script_of(article.body, language=article.language)
    if named == written:
        return None
    return (
        f"language {article.language!r} is written in {named} letters, but the body is {written}; correct one of them"
    )
