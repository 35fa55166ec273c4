"""The vocabulary of what goes out: one message to one person, or a sign that we are reading.

Limits of a provider (lengths, number of buttons) belong to its adapter, which refuses what it cannot carry.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from channels.events import Identity, Vocabulary


class Choice(Vocabulary):
    """One thing to choose. `id` comes back as the payload of the person's reply."""

    id: str = Field(min_length=1, max_length=256)
    title: str = Field(min_length=1)
    description: str | None = None


class OutboundText(Vocabulary):
    """Plain words."""

    kind: Literal["text"] = "text"
    to: Identity
    text: str = Field(min_length=1)
    #: The provider's id of the message that this one answers.
    reply_to: str | None = None


class OutboundButtons(Vocabulary):
    """Words with a few buttons under them."""

    kind: Literal["buttons"] = "buttons"
    to: Identity
    text: str = Field(min_length=1)
    buttons: tuple[Choice, ...] = Field(min_length=1)
    reply_to: str | None = None


class OutboundList(Vocabulary):
    """Words with a menu that opens into rows."""

    kind: Literal["list"] = "list"
    to: Identity
    text: str = Field(min_length=1)
    #: What stands on the control that opens the menu.
    open_label: str = Field(min_length=1)
    rows: tuple[Choice, ...] = Field(min_length=1)
    reply_to: str | None = None


class ReadAndTyping(Vocabulary):
    """Marks the person's message as read and shows that an answer is being written. Best effort; never retried."""

    kind: Literal["read_and_typing"] = "read_and_typing"
    provider_message_id: str


OutboundMessage: TypeAlias = Annotated[
    OutboundText | OutboundButtons | OutboundList | ReadAndTyping, Field(discriminator="kind")
]

#: Reads and writes one outbound message as JSON, for the effect row that carries it.
OUTBOUND: TypeAdapter[OutboundMessage] = TypeAdapter(OutboundMessage)
