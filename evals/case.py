"""One case: what was said before, what is said now, and what must come of it. Read from `cases/*.yaml`.

A case with `stable: true` fails the report when it fails; the others are only shown.
"""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from agents.decisions import Action, HandOffReason
from core.errors import RequestInvalid

CASES = Path(__file__).parent / "cases"

Text: TypeAlias = Annotated[str, Field(max_length=4096)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Closed):
    """One earlier message."""

    author: Literal["contact", "agent", "human"]
    text: Text


class Expectation(_Closed):
    """What must come of the messages."""

    action: Action
    #: Ids of the articles that must be cited, every one, and no others.
    cites: tuple[str, ...] = ()
    #: Ids of articles that may be cited as well.
    also: tuple[str, ...] = ()
    #: Fragments that must stand in what the person reads, word for word.
    says: tuple[str, ...] = ()
    #: Fragments that must not, in any case of letters.
    never: tuple[str, ...] = ()
    #: Why a person takes over; for an answer too, when it leaves something open.
    hand_off: HandOffReason | None = None


class Case(_Closed):
    """One evaluation case."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    #: The slug of the tenant whose knowledge it is asked of.
    tenant: str
    given: tuple[Said, ...] = ()
    messages: tuple[Text, ...] = Field(min_length=1)
    owner: Literal["agent", "awaiting_person"] = "agent"
    expect: Expectation
    tags: tuple[str, ...] = ()
    stable: bool


_CASES: TypeAdapter[tuple[Case, ...]] = TypeAdapter(tuple[Case, ...])


def read_cases(folder: Path = CASES, *, tenant: str | None = None, tag: str | None = None) -> list[Case]:
    """The cases of a folder in the order of their files, narrowed to a tenant's slug or a tag.

    Raises:
        RequestInvalid: a file is malformed, or two cases have one id; the message names the file and the field.
    """
    cases: dict[str, Case] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            found = _CASES.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, ValidationError) as error:
            raise RequestInvalid(f"evaluation cases {path.name}: {error}") from error
        for case in found:
            if case.id in cases:
                raise RequestInvalid(f"evaluation cases {path.name}: a second case has the id {case.id}")
            cases[case.id] = case
    return [case for case in cases.values() if tenant in (None, case.tenant) and (tag is None or tag in case.tags)]
