"""What must be true in the end: follows from the schedule alone, whatever died on the way.

Where the schedule leaves the order of two things open (a question and its being taken back, a burst and the turns that
it falls into) more than one end is right, and the model says which.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bench.chaos.bodies import message_id
from bench.chaos.schedule import Event, Schedule, Story

Owner: TypeAlias = Literal["agent", "awaiting_person", "person"]
EventEnd: TypeAlias = Literal["done", "dead"]

OWNERS: Mapping[Story, Owner] = {"unanswerable": "awaiting_person", "mixed": "awaiting_person", "person": "person"}
#: Questions that may stay without an answer: they were taken back, or a person answered.
EXCUSED: frozenset[Story] = frozenset({"revoked", "person"})


@dataclass(frozen=True, slots=True)
class ExpectedMessage:
    """One row of the transcript."""

    conversation: int
    author: Literal["contact", "human"]
    #: None where it was taken back.
    text: str | None
    edited: bool
    deleted: bool
    #: Whether a run must have answered it; where not, one may have.
    answered: bool


@dataclass(frozen=True, slots=True)
class ExpectedConversation:
    """One conversation. Its runs that said something are counted."""

    owner: Owner
    replies_min: int
    replies_max: int
    hand_offs: int


@dataclass(frozen=True, slots=True)
class Expectation:
    """The end of one schedule."""

    #: By event.
    events: Mapping[int, EventEnd]
    #: By event that is a message or an echo.
    messages: Mapping[int, ExpectedMessage]
    #: By conversation.
    conversations: Mapping[int, ExpectedConversation]
    #: The bodies that become dead letters as a whole, and those that must be refused.
    dead_bodies: frozenset[int]
    refused_bodies: frozenset[int]


def expectation_of(schedule: Schedule) -> Expectation:
    """The end that this schedule must come to."""
    return Expectation(
        events={number: "dead" if event.kind == "unrouted" else "done" for number, event in enumerate(schedule.events)},
        messages=_messages(schedule),
        conversations=_conversations(schedule),
        dead_bodies=_bodies(schedule, "not_json"),
        refused_bodies=_bodies(schedule, "unsigned", "wrong_signature"),
    )


def event_key_of(schedule: Schedule, number: int) -> str | None:
    """The key under which an event is kept; None where it is a hash of what nobody understands."""
    event = schedule.events[number]
    return None if event.kind == "unknown" else f"message:{message_id(schedule.seed, number)}"


def _messages(schedule: Schedule) -> dict[int, ExpectedMessage]:
    changes: dict[int, list[tuple[int, Event]]] = defaultdict(list)
    for number, event in enumerate(schedule.events):
        if event.target is not None:
            changes[event.target].append((number, event))
    return {
        number: _message(schedule, event, changes[number])
        for number, event in enumerate(schedule.events)
        if event.conversation is not None and event.kind in ("message", "echo")
    }


def _message(schedule: Schedule, event: Event, changes: list[tuple[int, Event]]) -> ExpectedMessage:
    assert event.conversation is not None
    story = schedule.conversations[event.conversation].story
    edits = [change for change in changes if change[1].kind == "edit"]
    # As the provider tells it: by its clock, which has seconds, and then by the id.
    edits.sort(key=lambda edit: (edit[1].at_ms // 1000, message_id(schedule.seed, edit[0])))
    deleted = any(change.kind == "revoke" for _, change in changes)
    text = edits[-1][1].text if edits else event.text
    return ExpectedMessage(
        conversation=event.conversation,
        author="human" if event.kind == "echo" else "contact",
        text=None if deleted else text,
        edited=bool(edits),
        deleted=deleted,
        answered=event.kind == "message" and (story not in EXCUSED or (event.epilogue and story != "person")),
    )


def _conversations(schedule: Schedule) -> dict[int, ExpectedConversation]:
    asked: dict[int, list[Event]] = defaultdict(list)
    for event in schedule.events:
        if event.conversation is not None and event.kind == "message":
            asked[event.conversation].append(event)
    return {number: _conversation(one.story, asked[number]) for number, one in enumerate(schedule.conversations)}


def _conversation(story: Story, asked: list[Event]) -> ExpectedConversation:
    """A question of the epilogue is asked when all is at rest, so it is a turn of its own."""
    once_more = 0 if story == "person" else sum(event.epilogue for event in asked)
    before = sum(not event.epilogue for event in asked)
    return ExpectedConversation(
        owner=OWNERS.get(story, "agent"),
        replies_min=(0 if story in EXCUSED else 1) + once_more,
        replies_max=before + once_more,
        hand_offs=sum(event.unanswerable for event in asked),
    )


def _bodies(schedule: Schedule, *kinds: str) -> frozenset[int]:
    return frozenset(number for number, body in enumerate(schedule.bodies) if body.kind in kinds)
