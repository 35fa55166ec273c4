"""WhatsApp webhooks in: one raw body becomes events of the vocabulary, in the order of the body.

A body carries several entries, each several changes, each several messages, for several numbers: nothing is taken
by its place. Each part stands alone, so one that cannot be read becomes `Unknown` and its neighbours are unharmed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from pydantic import JsonValue, ValidationError

from channels.events import DeliveryStatus, Event, StatusChanged, Unknown
from channels.json_body import fingerprint, read_json
from channels.meta import WHATSAPP_OBJECT
from channels.protocol import RoutedEvent
from channels.whatsapp.content import identity, message_echoed, message_received, moment
from channels.whatsapp.errors import fault_of
from channels.whatsapp.payloads import ID_LENGTH_MAX, Contact, Message, Status
from core.errors import RequestInvalid

LABEL_LENGTH_MAX: Final = 256

#: Reads one part; None where the vocabulary has no word for it.
Reader: TypeAlias = Callable[[JsonValue, Sequence[Contact]], Event | None]

#: `played` is the read receipt of a voice note.
_STATUSES: Final[Mapping[str, DeliveryStatus]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "played": "read",
    "failed": "failed",
}


def normalise(body: bytes) -> list[RoutedEvent]:
    """Turn one verified raw body into events, in the order of the body. Pure.

    An event belongs to the `phone_number_id` of its change; one that concerns no number (templates, the account)
    to the id of the WhatsApp business account.

    Raises:
        RequestInvalid: the body is not WhatsApp's envelope at all.
    """
    envelope = read_json(body)
    if not isinstance(envelope, dict) or envelope.get("object") != WHATSAPP_OBJECT:
        raise RequestInvalid(f"the body has no `object` {WHATSAPP_OBJECT!r}: it is no envelope of WhatsApp's")
    entries = envelope.get("entry")
    if not isinstance(entries, list):
        raise RequestInvalid("the envelope's `entry` is not a list: it is no envelope of WhatsApp's")
    return [routed for entry in entries for routed in _entry(entry)]


def _entry(entry: JsonValue) -> Iterator[RoutedEvent]:
    fields = entry if isinstance(entry, dict) else {}
    business_id = _id(fields.get("id"))
    changes = fields.get("changes")
    if not isinstance(changes, list):
        yield RoutedEvent(business_id, _unknown("entry", entry))
        return
    for change in changes:
        yield from _change(change, business_id, fields.get("time"))


def _change(change: JsonValue, business_id: str, sent_at: JsonValue) -> Iterator[RoutedEvent]:
    fields = change if isinstance(change, dict) else {}
    name, value = _word(fields.get("field")) or "change", fields.get("value")
    # A change without ids of its own may truly happen twice, such as a rating that falls, rises and falls again.
    whole = _unknown(name, [sent_at, change])
    if not isinstance(value, dict):
        yield RoutedEvent(business_id, whole)
        return
    metadata = value.get("metadata")
    account_id = (_id(metadata.get("phone_number_id")) if isinstance(metadata, dict) else "") or business_id
    contacts = _contacts(value.get("contacts"))
    understood = False
    for key, parts in value.items():
        reader = _READERS.get((name, key))
        if reader is not None and isinstance(parts, list):
            understood = True
            path = name if key in {"messages", "message_echoes"} else key
            yield from (RoutedEvent(account_id, _part(path, part, reader, contacts)) for part in parts)
    if not understood:
        yield RoutedEvent(account_id, whole)


def _part(path: str, part: JsonValue, reader: Reader, contacts: Sequence[Contact]) -> Event:
    try:
        event = reader(part, contacts)
    except ValidationError:
        return _unknown(f"{_label(path, part)}/invalid", part)
    return event or _unknown(_label(path, part), part)


def _received(part: JsonValue, contacts: Sequence[Contact]) -> Event | None:
    return message_received(Message.model_validate(part), contacts)


def _echoed(part: JsonValue, contacts: Sequence[Contact]) -> Event | None:
    return message_echoed(Message.model_validate(part), contacts)


def _status_changed(part: JsonValue, _contacts: Sequence[Contact]) -> Event | None:
    wire = Status.model_validate(part)
    status = _STATUSES.get(wire.status)
    if status is None or wire.type not in {None, "message"}:
        return None
    recipient = wire.recipient_id or wire.recipient_user_id
    return StatusChanged(
        event_key=f"status:{wire.id}:{status}:{recipient or ''}",
        provider_ts=moment(wire.timestamp),
        provider_message_id=wire.id,
        status=status,
        recipient=identity(recipient) if recipient else None,
        correlation=wire.biz_opaque_callback_data,
        faults=tuple(fault_of(error) for error in wire.errors or ()),
    )


def _no_word(_part: JsonValue, _contacts: Sequence[Contact]) -> Event | None:
    return None


#: By the change's field and the key inside its value. Errors of a whole value tell of no message.
_READERS: Final[Mapping[tuple[str, str], Reader]] = {
    ("messages", "messages"): _received,
    ("messages", "statuses"): _status_changed,
    ("messages", "errors"): _no_word,
    ("smb_message_echoes", "message_echoes"): _echoed,
}


def _contacts(parts: JsonValue) -> list[Contact]:
    """The contacts that can be read; absent with system and unsupported messages."""
    contacts: list[Contact] = []
    for part in parts if isinstance(parts, list) else ():
        try:
            contacts.append(Contact.model_validate(part))
        except ValidationError:
            continue
    return contacts


def _unknown(label: str, part: JsonValue) -> Unknown:
    at = _id(part.get("timestamp")) if isinstance(part, dict) else None
    return Unknown(
        event_key=f"unknown:{fingerprint(part)}",
        provider_ts=moment(at),
        label=label[:LABEL_LENGTH_MAX],
    )


def _label(path: str, part: JsonValue) -> str:
    """What an operator reads, for example `messages/order`, `messages/interactive/nfm_reply`, `statuses/deleted`."""
    if not isinstance(part, dict):
        return path
    if part.get("group_id"):
        return f"{path}/group"
    kind = _word(part.get("type")) or _word(part.get("status"))
    section = part.get(kind) if kind == "interactive" else None
    detail = _word(section.get("type")) if isinstance(section, dict) else ""
    return "/".join(word for word in (path, kind, detail) if word)


def _word(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _id(value: JsonValue) -> str:
    """An id as a string, even where a sender writes it as a number; empty where there is none that could be one."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _word(value)
    return text if len(text) <= ID_LENGTH_MAX else ""
