"""The closed decisions of the agents: what a model may say, and what our own code makes of it. Always plain JSON.

A model fills `TriageDecision` and `ReplyDecision`. Only the guard writes a `TurnDecision`, and only that is acted on.
"""

from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from langchain_core.utils.json_schema import dereference_refs
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

ANSWERS_MAX = 8
CHOICES_MAX = 5
TEXT_CHARACTERS_MAX = 4000

Route: TypeAlias = Literal["reply", "greet", "thank", "silent", "hand_off"]
TriageReason: TypeAlias = Literal[
    "question", "greeting", "thanks", "acknowledgement", "person_asked", "safety", "override", "opt_out", "opt_in",
    "unreadable",
]  # fmt: skip
Action: TypeAlias = Literal["answer", "clarify", "greet", "thank", "hand_off", "silent"]
#: Why a person takes over. The last three are ours, never a model's.
HandOffReason: TypeAlias = Literal[
    "not_in_knowledge", "person_asked", "safety", "override", "opt_out", "unreadable", "unclear_twice",
    "not_grounded", "model_unavailable", "model_refused",
]  # fmt: skip

#: What a model adds beside the fields is dropped; a field that is missing or not of its closed set refuses the whole.
_CLOSED = ConfigDict(extra="ignore")
Words: TypeAlias = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]


@with_config(_CLOSED)
class TriageDecision(TypedDict):
    """What to do with what the person wrote."""

    route: Route
    reason: TriageReason
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}$", description="Code of the language the person writes in")]


@with_config(_CLOSED)
class Citation(TypedDict):
    """Where an answer stands."""

    article_id: Annotated[str, Field(max_length=200)]
    chunk_id: int
    title: Annotated[str, Field(max_length=500, description="The title of the article")]
    quote: Annotated[Words, Field(description="The sentence of the passage that bears the answer, word for word")]


@with_config(_CLOSED)
class Answer(TypedDict):
    """One question and the passage that answers it."""

    question: Annotated[Words, Field(description="The question in the person's words")]
    text: Annotated[Words, Field(description="Whole sentences of one passage, word for word")]
    citation: Citation


@with_config(_CLOSED)
class ReplyDecision(TypedDict):
    """What to answer, word for word from the passages; what to let the person choose; or that a colleague must."""

    action: Literal["answer", "clarify", "hand_off"]
    answers: Annotated[list[Answer], Field(max_length=ANSWERS_MAX)]
    unanswered: Annotated[list[Words], Field(max_length=ANSWERS_MAX, description="Questions that no passage answers")]
    reason: Literal["grounded", "ambiguous", "not_in_knowledge", "person_asked"]


class GroundedAnswer(TypedDict):
    """An answer that the guard let through: whole sentences of a passage that was recalled in this turn."""

    question: str
    text: str
    article_id: str
    chunk_id: int
    title: str
    quote: str


class OfferedChoice(TypedDict):
    """One article that the person may mean."""

    article_id: str
    chunk_id: int
    title: str


class TurnDecision(TypedDict):
    """What this turn does. An answer may come with a hand-off: of what it leaves open."""

    action: Action
    answers: list[GroundedAnswer]
    choices: list[OfferedChoice]
    #: Set when a person takes over, whatever else is said.
    hand_off: HandOffReason | None
    unanswered: list[str]
    language: str


class AgentReport(TypedDict):
    """How an agent came to its decision: for the trail and the figures of a run."""

    prompt_ref: str | None
    engine: str | None
    tokens_in: int
    tokens_out: int
    tool_calls: list[str]
    why: str


def hand_off(reason: HandOffReason, *, language: str, unanswered: list[str] | None = None) -> TurnDecision:
    """The decision that a person takes over and nothing is answered."""
    return TurnDecision(
        action="hand_off", answers=[], choices=[], hand_off=reason, unanswered=unanswered or [], language=language
    )


def read_triage(arguments: object) -> TriageDecision | None:
    """What a model filled in, or None when it is not the schema's."""
    try:
        return _triage().validate_python(arguments)
    except ValidationError:
        return None


def read_reply(arguments: object) -> ReplyDecision | None:
    """What a model filled in, or None when it is not the schema's."""
    try:
        return _reply().validate_python(arguments)
    except ValidationError:
        return None


@cache
def triage_schema() -> dict[str, Any]:
    """The JSON schema of `TriageDecision`, as a tool for a model."""
    return _triage().json_schema()


@cache
def reply_schema() -> dict[str, Any]:
    """The JSON schema of `ReplyDecision`, as a tool for a model."""
    schema = dereference_refs(_reply().json_schema())  # not every provider follows references
    schema.pop("$defs")
    return schema


@cache
def _triage() -> TypeAdapter[TriageDecision]:
    return TypeAdapter(TriageDecision)


@cache
def _reply() -> TypeAdapter[ReplyDecision]:
    return TypeAdapter(ReplyDecision)
