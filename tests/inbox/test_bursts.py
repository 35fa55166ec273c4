"""From what a person writes to when their turn is due."""

import time
from typing import Any

import pytest

from core.crypto import Sealer
from db.pools import Database
from inbox.debounce import QUIET_MULTIPLE_MAX
from tests.builders import (
    Organisation,
    a_body,
    a_change,
    a_number,
    a_text,
    a_wamid,
    an_organisation,
    receive,
    rows,
    store,
    take_in,
)
from tests.conftest import Stack

DEBOUNCE_MS = 20_000
DUE_IN_S = "SELECT extract(epoch FROM due_at - created_at)::float8 AS due_in_s FROM core.runs WHERE kind = 'turn'"


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer, debounce_ms=DEBOUNCE_MS)


async def due_in_s(database: Database, organisation: Organisation) -> list[int]:
    """How long after they were first asked for the turns of the organisation are due."""
    return [round(row["due_in_s"]) for row in await rows(database, organisation.tenant_id, DUE_IN_S)]


def a_moment(seconds_ago: int) -> int:
    return int(time.time()) - seconds_ago


def a_picture(sender: str) -> dict[str, Any]:
    picture = {"id": "1", "mime_type": "image/jpeg", "sha256": "x"}
    return {"from": sender, "id": a_wamid(), "timestamp": str(a_moment(1)), "type": "image", "image": picture}


def a_chosen_button(sender: str) -> dict[str, Any]:
    reply = {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes"}}
    return {"from": sender, "id": a_wamid(), "timestamp": str(a_moment(1)), "type": "interactive", "interactive": reply}


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (a_text("Can I get a receipt?", sender="1"), 10),
        (a_chosen_button("1"), 10),
        (a_text("I want to know about the receipt", sender="1"), 20),
        (a_text("hello", sender="1"), 40),
        (a_picture("1"), 40),
    ],
)
async def test_a_turn_waits_as_long_as_the_message_leaves_open(
    database: Database, sealer: Sealer, organisation: Organisation, message: dict[str, Any], seconds: int
) -> None:
    await receive(database, sealer, organisation, message | {"from": a_number(), "id": a_wamid()})
    assert await due_in_s(database, organisation) == [seconds]


async def test_the_newest_message_of_a_body_decides_wherever_it_stands_in_it(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender = a_number()
    said = ["hello", "my donation", "Where is the receipt?"]
    messages = [a_text(text, sender=sender, timestamp=a_moment(9 - n)) for n, text in enumerate(said)]
    await receive(database, sealer, organisation, messages[2], messages[0], messages[1])
    assert await due_in_s(database, organisation) == [20]


async def test_messages_of_one_body_ask_for_one_turn_that_the_last_word_ends(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender, other = a_number(), a_number()
    await receive(
        database, sealer, organisation,
        a_text("hello", sender=sender), a_text("hello", sender=other), a_text("Where is my receipt?", sender=sender),
    )  # fmt: skip
    assert sorted(await due_in_s(database, organisation)) == [10, 40]


async def test_who_writes_in_pieces_is_given_a_bit_more_than_the_last_pause(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender = a_number()
    for ago, text in ((76, "I gave some money to you"), (52, "it was in the month of March")):
        await receive(database, sealer, organisation, a_text(text, sender=sender, timestamp=a_moment(ago)))
    (waits_s,) = await due_in_s(database, organisation)
    assert 24 * 1.25 <= waits_s <= DEBOUNCE_MS / 1000 * QUIET_MULTIPLE_MAX


async def test_no_debounce_answers_everything_at_once(database: Database, sealer: Sealer, stack: Stack) -> None:
    prompt = an_organisation(stack.admin_url, sealer, debounce_ms=0)
    sender = a_number()
    for message in (a_text("hello", sender=sender), a_picture(sender), a_text("my donation", sender=sender)):
        await receive(database, sealer, prompt, message)
    assert await due_in_s(database, prompt) == [0]


async def test_a_reaction_an_edit_and_a_status_ask_for_no_turn(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    about = {"from": a_number(), "timestamp": str(a_moment(1))}
    reaction = {"message_id": "wamid.ours", "emoji": "👍"}
    edit = {"original_message_id": "wamid.theirs", "message": {"type": "text", "text": {"body": "better words"}}}
    await receive(
        database, sealer, organisation,
        about | {"id": a_wamid(), "type": "reaction", "reaction": reaction},
        about | {"id": a_wamid(), "type": "edit", "edit": edit},
    )  # fmt: skip
    assert await due_in_s(database, organisation) == []


async def test_a_message_that_a_person_has_answered_in_the_same_round_asks_for_no_turn(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender = a_number()
    written = a_change(organisation.phone_number_id, messages=[a_text("Anyone there?", sender=sender)])
    echo = {"from": "911140000000", "to": sender, "id": a_wamid(), "timestamp": str(a_moment(1)), "type": "text"}
    answered = a_change(organisation.phone_number_id, field="smb_message_echoes")
    answered["value"]["message_echoes"] = [echo | {"text": {"body": "Yes, Meera here"}}]
    again = a_change(organisation.phone_number_id, messages=[a_text("Thank you", sender=sender)])
    await store(database, sealer, organisation.account_id, a_body([written, answered, again]))
    await take_in(database, sealer)
    assert await due_in_s(database, organisation) == []
    waiting = "SELECT FROM messages WHERE needs_answer AND run_id IS NULL"
    assert await rows(database, organisation.tenant_id, waiting) == []
