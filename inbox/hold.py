"""One order for everyone who writes to several conversations at once.

Two workers that hold the same people's conversations, taken in different orders, wait for each other until the database
gives one of them up, a second later. So a batch is put in order first, and what is there already is locked in advance.
"""

from collections.abc import Sequence
from typing import TypeAlias

from channels.events import (
    Event,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Person,
    ReactionChanged,
    StatusChanged,
    Unknown,
)
from db.pools import Connection
from inbox.claim import Row

HOLD = """
SELECT FROM conversations WHERE (account_id, contact_id) IN (
  SELECT i.account_id, i.contact_id FROM contact_identities i
  JOIN unnest(%(accounts)s::text[], %(kinds)s::text[], %(values)s::text[]) AS known (account_id, kind, value)
    USING (account_id, kind, value))
ORDER BY id FOR NO KEY UPDATE
"""

#: An event and the row that it came in.
Opened: TypeAlias = tuple[Event, Row]


def in_one_order(events: Sequence[Opened]) -> list[Opened]:
    """By person, each with their events as they came; then what is found by its message, by that message's id."""
    return sorted(events, key=_place)


async def hold_conversations(connection: Connection, events: Sequence[Opened]) -> None:
    """Lock the conversations of these events that are there already, until the transaction ends."""
    persons = {(row["account_id"], person) for event, row in events if (person := _person_of(event)) is not None}
    if len(persons) <= 1:  # takes its one lock when it comes to it
        return
    identities = {(account_id, one.kind, one.value) for account_id, person in persons for one in person.identities}
    accounts, kinds, values = zip(*identities, strict=True)
    await connection.execute(HOLD, {"accounts": list(accounts), "kinds": list(kinds), "values": list(values)})


def _place(opened: Opened) -> tuple[object, ...]:
    event, row = opened
    person = _person_of(event)
    if person is not None:
        return 0, row["account_id"], person.identities[0].kind, person.identities[0].value, row["id"]
    return 1, row["account_id"], "", event.provider_message_id if isinstance(event, StatusChanged) else "", row["id"]


def _person_of(event: Event) -> Person | None:
    """With whom the conversation is that the event belongs to; None for one that is found by its message."""
    match event:
        case MessageReceived() | MessageEdited() | MessageRevoked() | ReactionChanged():
            return event.sender
        case MessageEchoed():
            return event.recipient
        case StatusChanged() | Unknown():
            return None
