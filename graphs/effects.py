"""What a turn wants to have done: JSON drafts that a node returns, and the key under which each happens once.

`graphs.run` queues them in the commit that marks the turn's messages answered; nothing is done here.
"""

import hashlib
from typing import Any, Literal, TypeAlias

from typing_extensions import TypedDict

from core.ids import RunId, TenantId


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


class HandOffEffect(TypedDict):
    """A person takes over. `summary` is what they read first."""

    kind: Literal["hand_off"]
    slot: str
    reason: str
    summary: str


Effect: TypeAlias = SendEffect | HandOffEffect


def effect_key(tenant_id: TenantId, run_id: RunId, *, path: str, slot: str, index: int) -> str:
    """The key of one effect: 64 hex digits, the same however often the step that wants it is taken.

    `path` is the path of nodes without ids (`emit`, `reply/tools`), `index` the effect's place among those that the
    path gave. No id that a model made goes into it.
    """
    parts = (tenant_id, run_id, path, slot, str(index))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def node_path(checkpoint_namespace: str) -> str:
    """The path of nodes in a checkpoint namespace: `reply:5f2…|tools:9c1…` is `reply/tools`."""
    return "/".join(part.partition(":")[0] for part in checkpoint_namespace.split("|"))
