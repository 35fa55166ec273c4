"""The one shared state of all graphs: each field with its author and how it merges. Plain JSON and messages only.

`graphs.run` begins a turn by setting every field that a node writes to None or empty, so that nothing of the last turn
on the thread remains. No secrets stand here, no handles, no whole documents and no identity numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, cast

from langchain_core.messages import AnyMessage, MessageLikeRepresentation, convert_to_messages
from typing_extensions import TypedDict

from agents.decisions import AgentReport, ReplyDecision, TriageDecision, TurnDecision
from agents.guard import Owner
from graphs.effects import Effect
from tools.knowledge import RecalledPassage

#: More of one message than this is not read by an agent; the whole of it stays in the transcript.
MESSAGE_CHARACTERS_MAX = 4000


class InboundMessage(TypedDict):
    """One message of the person that this turn answers."""

    message_id: str
    provider_message_id: str | None
    kind: str
    text: str | None
    #: What a chosen button or row carries for the program.
    payload: str | None
    #: By reference: id, mime, name, size_bytes, state.
    attachments: list[dict[str, Any]]
    provider_ts: str | None
    reply_to: str | None


class Profile(TypedDict):
    """How the organisation presents itself: from the tenant's settings. Lines are by language code."""

    name: NotRequired[str]
    #: The first one is used where a person's language is not known.
    languages: NotRequired[list[str]]
    greeting: NotRequired[dict[str, str]]
    #: Says that a colleague will reply here, and when.
    hand_off: NotRequired[dict[str, str]]
    #: Stands under every answer and says that a program wrote it.
    automated_label: NotRequired[dict[str, str]]


class Search(TypedDict):
    """One search of the turn. `messages` are the places (from 1) of the messages it stands for."""

    search: int
    text: str
    messages: list[int]
    kind: Literal["message", "part", "joined", "choice"]


class Recalled(TypedDict):
    """What was looked up, why, and what was found."""

    searches: list[Search]
    why: str
    passages: list[RecalledPassage]


class Draft(TypedDict):
    """What the reply agent decided. None where no reply of its model could be used; `fault` says why."""

    decision: ReplyDecision | None
    fault: Literal["model_refused", "model_unavailable"] | None


class HandOffCase(TypedDict):
    """What was left to a person."""

    reason: str
    #: What they read first.
    summary: str


class WaitingRun(TypedDict):
    """A run of this conversation that waits."""

    run_id: str
    graph: str
    #: Its open questions, as `graphs.questions.OpenQuestion`.
    questions: list[dict[str, Any]]


class FinishedRun(TypedDict):
    """A run beside the conversation's turns that ended since the last turn."""

    run_id: str
    graph: str
    state: Literal["succeeded", "failed", "dead", "cancelled"]
    outcome: str | None


class TrailEntry(TypedDict):
    """Who wrote what in this turn, and on what evidence."""

    node: str
    #: `code`, or `agent:<name>`.
    author: str
    wrote: list[str]
    #: Ids of the chunks that were in view.
    memory_hits: list[int]
    report: AgentReport


def appended(before: list[TrailEntry], new: list[TrailEntry]) -> list[TrailEntry]:
    """Adds up within a turn; an empty list, which only the start of a turn writes, clears."""
    return [*before, *new] if new else []


def window(before: Sequence[AnyMessage], new: Sequence[MessageLikeRepresentation]) -> list[AnyMessage]:
    """Replaced, and read from the plain form in which a run's row keeps it."""
    del before
    return cast("list[AnyMessage]", convert_to_messages(new))


class ConversationState(TypedDict):
    """The state. "Replaced" means that the last write stands; "appended" that writes add up within the turn."""

    # Identity: by graphs.run at the start of a turn, replaced; nodes never write it.
    tenant_id: str
    conversation_id: str
    contact_id: str
    channel: str
    account_id: str
    run_id: str
    graph_version: str
    #: Prompt id to `version@sha256`: a resumed run goes on with the words it began with.
    prompt_refs: dict[str, str]

    # The turn: by graphs.run at its start, replaced.
    #: The identity to answer to, as `channels.events.Identity`.
    recipient: dict[str, Any]
    #: Who the conversation belonged to when the turn began; checked again in the commit that queues a send.
    owner: Owner
    profile: Profile
    #: Every message of the person that is not answered yet, oldest first.
    trigger: list[InboundMessage]
    #: The transcript before the trigger, windowed; the whole of it lives in the tenant's messages.
    messages: Annotated[list[AnyMessage], window]
    summary: str
    #: Runs of this conversation that wait for something, read from `runs`.
    waiting: list[WaitingRun]
    #: Those that ended since the last turn; where nothing was written, they are why there is a turn.
    finished: list[FinishedRun]
    #: What the hand-off graph begins with.
    hand_off: NotRequired[HandOffCase]
    #: Documents and payments of this conversation, by reference.
    documents: NotRequired[list[dict[str, Any]]]
    payments: NotRequired[list[dict[str, Any]]]

    # Written by one node each, replaced.
    #: recall
    recalled: Recalled | None
    #: triage; None also when its model's reply could not be used, which the guard makes a hand-off.
    route: TriageDecision | None
    #: reply
    draft: Draft | None
    #: guard: the only field that emit acts on.
    decision: TurnDecision | None
    #: The node that asked; any: what its graph accepts as an answer.
    answer: NotRequired[Any]
    #: emit, or the last node of another graph; graphs.run queues them.
    effects: list[Effect]

    # Appended by every node.
    trail: Annotated[list[TrailEntry], appended]


#: What a node returns: some of the fields. Any: a partial TypedDict would be this class once more.
Update: TypeAlias = dict[str, Any]


def graph_input(values: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON, then the graph's input
    """A run's recorded input as its graph takes it, with what the last turn on the thread left behind cleared."""
    cleared = {"recalled": None, "route": None, "draft": None, "decision": None, "effects": [], "trail": []}
    return {**values, **cleared}


def texts_of(state: ConversationState) -> list[str]:
    """The words of each message of the turn; "" for one that we cannot read, such as a picture."""
    return [_text_of(message) for message in state["trigger"]]


def default_language(state: ConversationState) -> str:
    """The organisation's first language."""
    return next(iter(state["profile"].get("languages", [])), "en")


def organisation(state: ConversationState) -> str:
    """The organisation's name."""
    return state["profile"].get("name", "the organisation")


def window_of(state: ConversationState) -> tuple[AnyMessage, ...]:
    """The earlier messages from the person's first on: some models refuse a conversation that we begin."""
    first = next((place for place, message in enumerate(state["messages"]) if message.type == "human"), None)
    return () if first is None else tuple(state["messages"][first:])


def last_words_of_ours(state: ConversationState) -> str:
    """What we said last before this turn, or ""."""
    last = next((message for message in reversed(state["messages"]) if message.type == "ai"), None)
    return str(last.text) if last else ""


def _text_of(message: InboundMessage) -> str:
    if message["kind"] == "sticker":
        return "🙂"  # a sign, like an emoji: it asks for nothing
    return (message["text"] or "").strip()[:MESSAGE_CHARACTERS_MAX]
