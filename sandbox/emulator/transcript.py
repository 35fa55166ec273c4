"""What a customer sees on the phone: their chats, message by message, as the newest state of each message."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from core.errors import NotFound
from sandbox.emulator.interactive import Choice

MESSAGES_PER_CHAT_MAX = 500
CHATS_MAX = 5000

Side: TypeAlias = Literal["customer", "business"]
Tick: TypeAlias = Literal["sent", "delivered", "read"]
_RANK: dict[Tick, int] = {"sent": 0, "delivered": 1, "read": 2}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message; `url` is where the phone page finds it."""

    id: str
    mime: str
    name: str | None
    size_bytes: int
    url: str


@dataclass(slots=True)
class ChatMessage:
    """One bubble."""

    id: str
    business: str
    customer: str
    side: Side
    kind: str
    at: datetime
    text: str | None = None
    header: str | None = None
    footer: str | None = None
    reply_to: str | None = None
    attachment: Attachment | None = None
    buttons: tuple[Choice, ...] = ()
    open_label: str | None = None
    rows: tuple[Choice, ...] = ()
    #: What the customer chose: the id of a button or a row.
    chosen: str | None = None
    #: sent: it left the phone. delivered: the business's system took it. read: the business said so.
    tick: Tick = "sent"
    #: Why the business's system has not taken it yet.
    trouble: str | None = None
    #: A person wrote it in the business's own app.
    by_app: bool = False
    edited: bool = False
    deleted: bool = False
    reactions: dict[Side, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The message as the phone page reads it."""
        return {**asdict(self), "at": self.at.isoformat()}


ChatKey: TypeAlias = tuple[str, str]


class Transcript:
    """All chats. `on_change` is told of each message that is new or not as it was."""

    def __init__(self, on_change: Callable[[ChatMessage], None]) -> None:
        self._on_change = on_change
        self._chats: OrderedDict[ChatKey, OrderedDict[str, ChatMessage]] = OrderedDict()
        self._by_id: dict[str, ChatMessage] = {}

    def add(self, message: ChatMessage) -> ChatMessage:
        """Add one message at the end of its chat."""
        chat = self._chats.setdefault((message.business, message.customer), OrderedDict())
        self._chats.move_to_end((message.business, message.customer))
        chat[message.id] = message
        self._by_id[message.id] = message
        if len(chat) > MESSAGES_PER_CHAT_MAX:
            self._forget([chat.popitem(last=False)[0]])
        if len(self._chats) > CHATS_MAX:
            _, dropped = self._chats.popitem(last=False)
            self._forget(dropped)
        self._on_change(message)
        return message

    def find(self, message_id: str) -> ChatMessage | None:
        """The message of an id; None where it is not ours or was dropped."""
        return self._by_id.get(message_id)

    def in_chat(self, business: str, customer: str, message_id: str) -> ChatMessage:
        """The message of an id, which must be of this chat.

        Raises:
            NotFound: it is not.
        """
        message = self._by_id.get(message_id)
        if message is None or (message.business, message.customer) != (business, customer):
            raise NotFound(f"there is no message {message_id!r} between customer {customer} and number {business}")
        return message

    def chat(self, business: str, customer: str) -> list[ChatMessage]:
        """The messages of one chat, oldest first."""
        return list(self._chats.get((business, customer), {}).values())

    def react(self, message: ChatMessage, side: Side, emoji: str) -> None:
        """Set the reaction of one side; "" removes it."""
        if emoji:
            message.reactions[side] = emoji
        else:
            message.reactions.pop(side, None)
        self._on_change(message)

    def changed(self, message: ChatMessage) -> None:
        """Tell that a message is not as it was."""
        self._on_change(message)

    def tick(self, message: ChatMessage, tick: Tick) -> None:
        """Raise the tick of a message; never lower it."""
        if _RANK[tick] > _RANK[message.tick]:
            message.tick = tick
            self._on_change(message)

    def taken(self, message: ChatMessage) -> None:
        """The business's system has taken what the customer did; a past trouble is over."""
        raised = message.side == "customer" and _RANK[message.tick] < _RANK["delivered"]
        if raised or message.trouble is not None:
            message.tick = "delivered" if raised else message.tick
            message.trouble = None
            self._on_change(message)

    def read_up_to(self, message: ChatMessage) -> None:
        """The business has read this message, and so every earlier one of the chat."""
        for earlier in self.chat(message.business, message.customer):
            if earlier.side == "customer":
                self.tick(earlier, "read")
            if earlier.id == message.id:
                return

    def clear(self) -> None:
        """Forget all chats."""
        self._chats.clear()
        self._by_id.clear()

    def _forget(self, message_ids: Iterable[str]) -> None:
        for message_id in message_ids:
            self._by_id.pop(message_id, None)
