"""Scheduled bodies as the bytes that Meta would post.

The ids of messages follow from the seed. Times are those of the schedule, counted from when the run began, so that a
body is the same bytes however often and whenever it is posted.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.chaos.schedule import Event, Schedule

Json: TypeAlias = dict[str, Any]  # Any: a webhook of Meta's

#: A number that belongs to nobody here.
STRANGE_PHONE_NUMBER_ID = "999999999999999"
STRANGE_SENDER = "919999999999"
BUSINESS_ACCOUNT_ID = "102290129340398"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the bodies of one schedule."""

    schedule: Schedule
    #: By organisation.
    phone_number_ids: Mapping[str, str]
    #: When the run began: seconds since 1970.
    began_at_s: int

    def body(self, number: int) -> bytes:
        """The bytes of one body."""
        body = self.schedule.bodies[number]
        if body.kind != "signed":
            return f"this is no JSON: {self.schedule.seed} {number}".encode()
        return envelope(self._change(event) for event in body.events)

    def _change(self, number: int) -> Json:
        event = self.schedule.events[number]
        if event.conversation is None:
            return self._stray(number, event)
        conversation = self.schedule.conversations[event.conversation]
        phone_number_id = self.phone_number_ids[conversation.organisation]
        part = {"id": message_id(self.schedule.seed, number), "timestamp": self._timestamp(event)}
        contacts = [{"profile": {"name": f"Stranger {event.conversation}"}, "wa_id": conversation.sender}]
        if event.kind == "echo":
            echo = part | {"from": phone_number_id, "to": conversation.sender} | _text(event.text)
            return change(phone_number_id, {"message_echoes": [echo], "contacts": contacts}, field="smb_message_echoes")
        message = part | {"from": conversation.sender} | self._content(event)
        return change(phone_number_id, {"messages": [message], "contacts": contacts})

    def _content(self, event: Event) -> Json:
        if event.target is None:
            return _text(event.text)
        original: Json = {"original_message_id": message_id(self.schedule.seed, event.target)}
        if event.kind == "revoke":
            return {"type": "revoke", "revoke": original}
        return {"type": "edit", "edit": original | {"message": _text(event.text)}}

    def _stray(self, number: int, event: Event) -> Json:
        """A kind of event that nobody knows, or a message to a number that is nobody's."""
        if event.kind == "unknown":
            of_the_future = {"of_the_future": [{"id": message_id(self.schedule.seed, number)}]}
            return change(self.phone_number_ids["asha"], of_the_future, field="of_the_future")
        message = {
            "id": message_id(self.schedule.seed, number),
            "timestamp": self._timestamp(event),
            "from": STRANGE_SENDER,
        }
        return change(STRANGE_PHONE_NUMBER_ID, {"messages": [message | _text(event.text)]})

    def _timestamp(self, event: Event) -> str:
        return str(self.began_at_s + event.at_ms // 1000)


def message_id(seed: int, event: int) -> str:
    """The provider's id of a scheduled event."""
    return f"wamid.{hashlib.sha256(f'{seed} {event}'.encode()).hexdigest()[:40].upper()}"


def envelope(changes: Iterable[Json]) -> bytes:
    """A whole webhook: one entry with these changes."""
    entry = {"id": BUSINESS_ACCOUNT_ID, "changes": list(changes)}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")).encode()


def change(phone_number_id: str, value: Json, *, field: str = "messages") -> Json:
    """One change of a number."""
    metadata = {"display_phone_number": "911140000100", "phone_number_id": phone_number_id}
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}


def _text(text: str) -> Json:
    return {"type": "text", "text": {"body": text}}
