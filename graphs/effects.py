"""What a turn wants to have done: JSON drafts that a node returns, and the key under which each happens once.

`graphs.run` queues them in the commit that marks the turn's messages answered; nothing is done here.
"""

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict

from core.ids import RunId, TenantId
from tools.keys import stable_key


class SentCitation(TypedDict):
    """Where a sentence that a person reads stands."""

    article_id: str
    chunk_id: int
    title: str
    quote: str


class SendEffect(TypedDict):
    """One message to the person."""

    kind: Literal["send"]
    slot: str
    #: A `channels.messages.OutboundMessage` as JSON. Any: the adapter's vocabulary, validated when it is queued.
    message: dict[str, Any]
    delivery: Literal["at_least_once", "at_most_once"]
    citations: list[SentCitation]
    #: Whose words they are; the agent's where nothing is said.
    author: NotRequired[Literal["agent", "human"]]


class HandOffEffect(TypedDict):
    """A person takes over. `summary` is what they read first."""

    kind: Literal["hand_off"]
    slot: str
    reason: str
    summary: str


class HandBackEffect(TypedDict):
    """The agent answers again."""

    kind: Literal["hand_back"]
    slot: str


class StartRunEffect(TypedDict):
    """A run of its own, on its own thread, that waits for a person, the contact or an event."""

    kind: Literal["start_run"]
    slot: str
    #: A graph of `graphs.registry`; also the kind of the run.
    graph: str
    #: Fields of the state that the graph begins with, beside identity and recipient. Any: JSON.
    input: dict[str, Any]
    #: How long it waits before `default` is taken for the answer.
    wait_s: float
    #: An answer that its graph accepts. Any: JSON.
    default: Any
    #: Whether its end begins a turn of the conversation.
    wake: bool


Effect: TypeAlias = SendEffect | HandOffEffect | HandBackEffect | StartRunEffect


def effect_key(tenant_id: TenantId, run_id: RunId, *, path: str, slot: str, index: int) -> str:
    """The key of one effect: 64 hex digits, the same however often the step that wants it is taken.

    `path` is the path of nodes without ids (`emit`, `reply/tools`), `index` the effect's place among those that the
    path gave. No id that a model made goes into it.
    """
    return stable_key(tenant_id, run_id, path, slot, str(index))
