"""One message of WhatsApp, already in its wire shape, becomes one event: who, what kind, which words, which file.

A function here answers None where the vocabulary has no word for the message. Pydantic's ValidationError means that
the message is not what its type promises. The caller keeps both as `Unknown`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from channels.events import (
    Event,
    Identity,
    Media,
    MessageEchoed,
    MessageEdited,
    MessageKind,
    MessageReceived,
    MessageRevoked,
    Person,
    ReactionChanged,
)
from channels.whatsapp.errors import fault_of
from channels.whatsapp.payloads import Contact, InteractiveSection, MediaSection, Message
from core.clock import from_unix_s

#: A user id scoped to one business portfolio, such as US.13491208655302741918 or US.ENT.11815799212886844830.
_BSUID: Final = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
#: Until the year 5138: ten digits today, and eleven leave no room for milliseconds taken for seconds.
_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,11}", re.ASCII)
#: The types whose section `_content` reads.
_READABLE: Final = frozenset({"text", "image", "audio", "video", "document", "sticker", "interactive", "button"})
#: The types that tell of an earlier message.
_CHANGES: Final = frozenset({"reaction", "edit", "revoke"})
#: What a person of the organisation may send in the app, beyond what `_content` reads: that they wrote is what counts.
_ECHOED_UNREAD: Final[dict[str, MessageKind]] = {
    "contacts": "contacts",
    "interactive": "interactive",
    "location": "location",
    "order": "order",
    "template": "template",
}


@dataclass(frozen=True, slots=True)
class _Content:
    kind: MessageKind
    text: str | None = None
    media: tuple[Media, ...] = ()
    payload: str | None = None


def message_received(message: Message, contacts: Sequence[Contact]) -> Event | None:
    """A message that a person sent to us, or what they did to an earlier one."""
    content = _content(message)
    if message.group_id is not None or (content is None and message.type not in _CHANGES):
        return None
    sender = person(contacts, message.sender_id, message.sender_user_id)
    if content is None:
        return _change_of_earlier(message, sender)
    context = message.context
    return MessageReceived(
        event_key=message_key(message.id),
        provider_ts=moment(message.timestamp),
        provider_message_id=message.id,
        sender=sender,
        message_kind=content.kind,
        text=content.text,
        media=content.media,
        reply_to=context.id if context else None,
        payload=content.payload,
        forwarded=context is not None and (context.forwarded or context.frequently_forwarded),
        faults=tuple(fault_of(error) for error in message.errors or ()),
    )


def message_echoed(message: Message, contacts: Sequence[Contact]) -> Event | None:
    """A message that the organisation sent from the WhatsApp Business app on the same number."""
    content = _content(message)
    if content is None and message.type in _ECHOED_UNREAD:
        content = _Content(_ECHOED_UNREAD[message.type])
    if content is None or message.group_id is not None:
        return None
    return MessageEchoed(
        event_key=message_key(message.id),
        provider_ts=moment(message.timestamp),
        provider_message_id=message.id,
        recipient=person(contacts, message.recipient_id, message.recipient_user_id),
        message_kind=content.kind,
        text=content.text,
        media=content.media,
    )


def message_key(message_id: str) -> str:
    """The event key of a message."""
    return f"message:{message_id}"


def moment(timestamp: str | None) -> datetime | None:
    """Unix seconds as a moment; None where it is no such thing, for a bad clock must not cost a message."""
    if timestamp is None or not _UNIX_SECONDS.fullmatch(timestamp):
        return None
    return from_unix_s(int(timestamp))


def identity(value: str) -> Identity:
    """A name of a person: a user id by its shape, else a WhatsApp id."""
    return Identity(kind="bsuid" if _BSUID.fullmatch(value) else "wa_id", value=value)


def person(contacts: Sequence[Contact], *ids: str | None) -> Person:
    """Who has these ids, with the aliases and the name that `contacts` adds. A number stands before a user id.

    Where the message has no id at all and there is one contact, that contact is who it is.
    """
    known = [name for name in ids if name]
    contact = next((one for one in contacts if one.wa_id in known or one.user_id in known), None)
    if not known and len(contacts) == 1:
        contact = contacts[0]
    aliases = (contact.wa_id, contact.user_id) if contact else ()
    identities = [identity(name) for name in dict.fromkeys([*known, *aliases]) if name]
    profile = contact.profile if contact else None
    return Person(
        identities=tuple(sorted(identities, key=lambda one: one.kind != "wa_id")),
        name=profile.name or None if profile else None,
        username=profile.username or None if profile else None,
    )


def _change_of_earlier(message: Message, sender: Person) -> Event | None:
    """The event of a reaction, an edit or a revoke; None where its section never came."""
    key, at = message_key(message.id), moment(message.timestamp)
    if message.type == "reaction" and message.reaction:
        return ReactionChanged(
            event_key=key,
            provider_ts=at,
            sender=sender,
            target_message_id=message.reaction.message_id,
            emoji=message.reaction.emoji or None,
        )
    if message.type == "edit" and message.edit:
        edited = message.edit.message
        media = {"image": edited.image, "video": edited.video, "document": edited.document}.get(edited.type)
        return MessageEdited(
            event_key=key,
            provider_ts=at,
            sender=sender,
            target_message_id=message.edit.original_message_id,
            text=edited.text.body if edited.text else media.caption if media else None,
        )
    if message.type == "revoke" and message.revoke:
        target = message.revoke.original_message_id
        return MessageRevoked(event_key=key, provider_ts=at, sender=sender, target_message_id=target)
    return None


def _content(message: Message) -> _Content | None:
    """What the section named by the type holds.

    A message whose section never came is `unsupported` if WhatsApp says why, or if it is an answer to buttons or a
    list: those are known to arrive bare even without a reason, and the person waits.
    """
    media = _media(message)
    if media is not None:
        return media
    match message.type:
        case "text" if message.text:
            return _Content("text", message.text.body)
        case "interactive" if message.interactive:
            return _chosen(message.interactive)
        case "button" if message.button:
            return _Content("postback", message.button.text, payload=message.button.payload)
        case _:
            return _Content("unsupported") if _arrived_bare(message) else None


def _arrived_bare(message: Message) -> bool:
    """Whether WhatsApp tells of a message without handing over what it holds."""
    explained = message.type in _READABLE and bool(message.errors)
    return explained or message.type in {"unsupported", "unknown", "interactive"}


def _chosen(interactive: InteractiveSection) -> _Content | None:
    replies = {"button_reply": interactive.button_reply, "list_reply": interactive.list_reply}
    reply = replies.get(interactive.type)
    return _Content("interactive", reply.title, payload=reply.id) if reply else None


def _media(message: Message) -> _Content | None:
    sections: dict[str, tuple[MessageKind, MediaSection | None]] = {
        "image": ("image", message.image),
        "audio": ("audio", message.audio),
        "video": ("video", message.video),
        "document": ("document", message.document),
        "sticker": ("sticker", message.sticker),
    }
    kind, section = sections.get(message.type, ("unsupported", None))
    if section is None:
        return None
    media = Media(
        provider_media_id=section.id,
        mime=section.mime_type,
        sha256=section.sha256,
        name=section.filename,
        voice=section.voice,
    )
    return _Content(kind, section.caption, (media,))
