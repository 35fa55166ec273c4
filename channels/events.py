"""The vocabulary of what comes in: every webhook of every provider becomes a list of these, and nothing else.

The union is closed. What an adapter does not know becomes `Unknown`, never an error: a provider that adds a kind
of event must not take us down, and the raw body is kept for the day we learn it.
"""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

IdentityKind: TypeAlias = Literal["wa_id", "bsuid", "psid", "igsid", "email", "phone"]
MessageKind: TypeAlias = Literal[
    "text", "image", "audio", "video", "document", "sticker", "location", "contacts", "reaction", "postback",
    "interactive", "order", "story_mention", "story_reply", "template", "unsupported", "system",
]  # fmt: skip
DeliveryStatus: TypeAlias = Literal["sent", "delivered", "read", "failed"]
Remedy: TypeAlias = Literal["retry", "person", "stop"]


class Vocabulary(BaseModel):
    """A value of the vocabulary: immutable, and strict about what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(Vocabulary):
    """One name a provider has for a person. `value` is kept exactly as the provider gave it."""

    kind: IdentityKind
    value: str = Field(min_length=1, max_length=256)


class Person(Vocabulary):
    """Who is on the other side. The first identity is the one to answer to; the rest are aliases of the same person."""

    identities: tuple[Identity, ...] = Field(min_length=1)
    name: str | None = None
    username: str | None = None


class Media(Vocabulary):
    """A file by reference: the provider keeps the bytes until we fetch them."""

    provider_media_id: str
    mime: str | None = None
    #: As the provider states it (WhatsApp: base64 of the SHA-256); checked when the bytes are fetched.
    sha256: str | None = None
    name: str | None = None
    voice: bool = False


class ProviderFault(Vocabulary):
    """Why a provider says that something failed, and what helps."""

    code: str
    title: str
    detail: str | None = None
    remedy: Remedy = "person"


class InboundEvent(Vocabulary):
    """What every event has. `event_key` is unique per account: the same thing reported twice has the same key."""

    event_key: str = Field(min_length=1, max_length=512)
    #: When it happened by the provider's clock; None where the provider does not say.
    provider_ts: datetime | None = None


class MessageReceived(InboundEvent):
    """A person wrote to us."""

    kind: Literal["message_received"] = "message_received"
    provider_message_id: str
    sender: Person
    message_kind: MessageKind
    #: The words: a text's body, a caption, or the title of the button or row that was chosen.
    text: str | None = None
    media: tuple[Media, ...] = ()
    #: The provider's id of the message that this one answers or quotes.
    reply_to: str | None = None
    #: What a chosen button, row or template button carries for the program.
    payload: str | None = None
    forwarded: bool = False
    faults: tuple[ProviderFault, ...] = ()


class MessageEdited(InboundEvent):
    """A person changed the words of a message they sent. May arrive before the message itself."""

    kind: Literal["message_edited"] = "message_edited"
    sender: Person
    target_message_id: str
    text: str | None


class MessageRevoked(InboundEvent):
    """A person took a message back. May arrive before the message itself."""

    kind: Literal["message_revoked"] = "message_revoked"
    sender: Person
    target_message_id: str


class ReactionChanged(InboundEvent):
    """A person set a reaction on a message, or removed theirs (`emoji` is None)."""

    kind: Literal["reaction_changed"] = "reaction_changed"
    sender: Person
    target_message_id: str
    emoji: str | None


class MessageEchoed(InboundEvent):
    """The organisation itself wrote, in the provider's own app: a human has answered."""

    kind: Literal["message_echoed"] = "message_echoed"
    provider_message_id: str
    recipient: Person
    message_kind: MessageKind
    text: str | None = None
    media: tuple[Media, ...] = ()


class StatusChanged(InboundEvent):
    """What became of a message that we sent. Statuses arrive late, twice and out of order."""

    kind: Literal["status_changed"] = "status_changed"
    provider_message_id: str
    status: DeliveryStatus
    recipient: Identity | None = None
    #: What we attached when sending: the key of our effect.
    correlation: str | None = None
    faults: tuple[ProviderFault, ...] = ()


class Unknown(InboundEvent):
    """Something the adapter has no word for. `label` names it for an operator, for example `messages/order`."""

    kind: Literal["unknown"] = "unknown"
    label: str = Field(max_length=256)


Event: TypeAlias = Annotated[
    MessageReceived | MessageEdited | MessageRevoked | ReactionChanged | MessageEchoed | StatusChanged | Unknown,
    Field(discriminator="kind"),
]

#: Reads and writes one event as JSON bytes, for the sealed column that carries it from split to explode.
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
