"""The demo content: Markdown and YAML files of this folder in, checked values out. It never touches the database.

`<slug>/knowledge/*.md` holds the articles, `<slug>/profile.yaml` how the organisation presents itself,
`<slug>/questions.yaml` what its customers ask, and `customers.yaml` the people of the phone page.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from core.errors import ChowkError, NotFound

Language: TypeAlias = Literal["en", "hi", "ta"]
Weekday: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Slug: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
Line: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
TimeOfDay: TypeAlias = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]

#: What `DemoQuestion.answer` says where no article answers and a person must.
HAND_OFF = "hand_off"

#: The offline model quotes an article's first paragraph word for word; longer ones do not fit a phone's screen.
FIRST_PARAGRAPH_CHARS_MAX = 500

_ROOT = Path(__file__).parent
_FRONT_MATTER = re.compile(r"\A---\n(?P<front>.*?)\n---\n+(?P<body>.+)\Z", re.DOTALL)
_CLOSED = ConfigDict(extra="forbid", frozen=True)
_T = TypeVar("_T")


class ContentInvalid(ChowkError):
    """A demo file is missing or not in its form. The message names the file, the field and what is expected."""


@dataclass(frozen=True)
class DemoArticle:
    """One piece of an organisation's knowledge. The first paragraph of `body` answers the title by itself."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    id: Slug
    title: Line
    language: Language
    tags: Annotated[tuple[Line, ...], Field(min_length=1)]
    #: The same question as people type it, four to eight times.
    questions: Annotated[tuple[Line, ...], Field(min_length=4, max_length=8)]
    #: Paragraphs of plain text, parted by one empty line.
    body: Annotated[str, StringConstraints(min_length=1, max_length=4000, strip_whitespace=True)]
    updated: date

    @property
    def first_paragraph(self) -> str:
        """The answer in one to three sentences, fit to be quoted."""
        return self.body.split("\n\n", maxsplit=1)[0]


@dataclass(frozen=True)
class OfficeHours:
    """When people answer on these days, in the time zone of the profile."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    days: Annotated[tuple[Weekday, ...], Field(min_length=1)]
    opens: TimeOfDay
    closes: TimeOfDay


@dataclass(frozen=True)
class DemoProfile:
    """How an organisation presents itself. `greeting` and `hand_off` have one text for each of `languages`."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Line
    slug: Slug
    time_zone: Line
    #: The first one is used where a customer's language is not known.
    languages: Annotated[tuple[Language, ...], Field(min_length=1)]
    greeting: Mapping[Language, Line]
    #: Says that a person will reply, and when.
    hand_off: Mapping[Language, Line]
    office_hours: Annotated[tuple[OfficeHours, ...], Field(min_length=1)]


@dataclass(frozen=True)
class DemoCustomer:
    """A person whom the phone page can be, known by a number, by a business-scoped user id (BSUID), or by both."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    name: Line
    about: Line
    language: Language
    #: Slugs of the organisations this person writes to, the usual one first.
    talks_to: Annotated[tuple[Slug, ...], Field(min_length=1)]
    #: Messages that the page offers to whoever does not know where to begin.
    try_asking: tuple[Line, ...] = ()
    wa_id: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{7,14}$")] | None = None
    bsuid: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}\.[A-Za-z0-9]{1,128}$")] | None = None
    username: Line | None = None


@dataclass(frozen=True)
class DemoQuestion:
    """A question of a customer, and the article that answers it or `HAND_OFF`."""

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED
    question: Line
    language: Language
    answer: str
    #: Ids of other articles that would be right as well.
    also: tuple[Slug, ...] = field(default=())


def demo_slugs() -> list[str]:
    """The slugs of the demo organisations, sorted."""
    return sorted(profile.parent.name for profile in _ROOT.glob("*/profile.yaml"))


def load_articles(slug: str) -> list[DemoArticle]:
    """All articles of an organisation, by id. Raises NotFound for an unknown slug and ContentInvalid for a bad file."""
    folder = _folder(slug) / "knowledge"
    articles = [_article(path) for path in sorted(folder.glob("*.md"))]
    if not articles:
        raise ContentInvalid(f"{_shown(folder)} holds no article. Add at least one .md file.")
    return articles


def load_profile(slug: str) -> DemoProfile:
    """The profile of an organisation. Raises NotFound for an unknown slug and ContentInvalid for a bad file."""
    path = _folder(slug) / "profile.yaml"
    profile = _checked(DemoProfile, _yaml(path, _read(path)), path)
    if profile.slug != slug:
        raise ContentInvalid(f"{_shown(path)}: slug is {profile.slug!r}. It must be the folder's name, {slug!r}.")
    for name, texts in (("greeting", profile.greeting), ("hand_off", profile.hand_off)):
        if set(texts) != set(profile.languages):
            raise ContentInvalid(
                f"{_shown(path)}: {name} is in {sorted(texts)}. Give one text for each of {sorted(profile.languages)}."
            )
    try:
        ZoneInfo(profile.time_zone)
    except (ZoneInfoNotFoundError, ValueError) as unknown:
        raise ContentInvalid(
            f"{_shown(path)}: time_zone {profile.time_zone!r} is unknown. Use an IANA name such as Asia/Kolkata."
        ) from unknown
    return profile


def load_customers() -> list[DemoCustomer]:
    """The people of the phone page, in the order of the file. Raises ContentInvalid for a bad file."""
    path = _ROOT / "customers.yaml"
    customers = _checked_list(DemoCustomer, path)
    for customer in customers:
        if customer.wa_id is None and customer.bsuid is None:
            raise ContentInvalid(f"{_shown(path)}: {customer.name} has neither wa_id nor bsuid. Give one of them.")
        if unknown := set(customer.talks_to) - set(demo_slugs()):
            raise ContentInvalid(
                f"{_shown(path)}: {customer.name} talks to {sorted(unknown)}. Known organisations: {demo_slugs()}."
            )
    _refuse_repeats([one.wa_id or one.bsuid or "" for one in customers], path, "wa_id or bsuid")
    return customers


def load_questions(slug: str) -> list[DemoQuestion]:
    """The customers' questions with their right answers. Raises NotFound and ContentInvalid as the others do."""
    path = _folder(slug) / "questions.yaml"
    questions = _checked_list(DemoQuestion, path)
    known = {article.id for article in load_articles(slug)} | {HAND_OFF}
    for one in questions:
        if unknown := {one.answer, *one.also} - known:
            raise ContentInvalid(
                f"{_shown(path)}: {one.question!r} names {sorted(unknown)}. Use ids of articles or {HAND_OFF!r}."
            )
    _refuse_repeats([one.question for one in questions], path, "question")
    return questions


def _article(path: Path) -> DemoArticle:
    parts = _FRONT_MATTER.match(_read(path))
    if parts is None:
        raise ContentInvalid(f"{_shown(path)}: no front matter. Begin with a block between two lines of '---'.")
    front = _yaml(path, parts["front"])
    if not isinstance(front, dict):
        raise ContentInvalid(f"{_shown(path)}: the front matter is no mapping. Write lines such as 'title: ...'.")
    article = _checked(DemoArticle, {**front, "body": parts["body"]}, path)
    if article.id != path.stem:
        raise ContentInvalid(f"{_shown(path)}: id is {article.id!r}. It must be the file's name, {path.stem!r}.")
    if (length := len(article.first_paragraph)) > FIRST_PARAGRAPH_CHARS_MAX:
        raise ContentInvalid(
            f"{_shown(path)}: the first paragraph has {length} characters. "
            f"It is quoted as the answer: keep it within {FIRST_PARAGRAPH_CHARS_MAX}."
        )
    return article


def _folder(slug: str) -> Path:
    if slug not in demo_slugs():
        raise NotFound(f"There is no demo organisation {slug!r}. Known ones: {', '.join(demo_slugs())}.")
    return _ROOT / slug


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ContentInvalid(f"{_shown(path)} cannot be read: {unreadable}. It must be a UTF-8 file.") from unreadable


def _yaml(path: Path, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as broken:
        raise ContentInvalid(f"{_shown(path)} is not valid YAML: {broken}") from broken


def _checked_list(kind: type[_T], path: Path) -> list[_T]:
    entries = _yaml(path, _read(path))
    if not isinstance(entries, list) or not entries:
        raise ContentInvalid(f"{_shown(path)} must be a list with at least one entry.")
    return [_checked(kind, entry, path) for entry in entries]


def _checked(kind: type[_T], raw: object, path: Path) -> _T:
    try:
        return _adapter(kind).validate_python(raw)
    except ValidationError as wrong:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'entry'}: {fault['msg']}" for fault in wrong.errors())
        raise ContentInvalid(f"{_shown(path)}: {faults}. Got {str(raw)[:120]}.") from wrong


@cache
def _adapter(kind: type[_T]) -> TypeAdapter[_T]:
    return TypeAdapter(kind)


def _refuse_repeats(values: Sequence[str], path: Path, name: str) -> None:
    if repeated := sorted({value for value in values if values.count(value) > 1}):
        raise ContentInvalid(f"{_shown(path)}: {name} {repeated} occurs more than once. Each must be its own.")


def _shown(path: Path) -> str:
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)
