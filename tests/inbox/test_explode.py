import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.crypto import Sealer
from db.pools import Database
from db.transactions import queue_tx
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import (
    Organisation,
    a_body,
    a_change,
    a_number,
    a_status,
    a_text,
    a_wamid,
    an_organisation,
    receive,
    rows,
    store,
    take_in,
    the_meta_app,
)
from tests.conftest import Stack

TRANSCRIPT = "SELECT text, author FROM messages ORDER BY provider_ts, sequence"


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


async def test_a_text_becomes_contact_conversation_message_and_one_queued_turn(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender = a_number()
    await receive(database, sealer, organisation, a_text("Namaste", sender=sender))
    assert await rows(database, organisation.tenant_id, "SELECT name FROM contacts") == [
        {"name": f"Person {sender[-4:]}"}
    ]
    (message,) = await rows(database, organisation.tenant_id, "SELECT text, status, needs_answer, run_id FROM messages")
    assert message == {"text": "Namaste", "status": "received", "needs_answer": True, "run_id": None}
    (run,) = await rows(
        database, organisation.tenant_id,
        "SELECT r.kind, r.state, r.thread_id = c.id AS on_its_thread FROM core.runs r, conversations c",
    )  # fmt: skip
    assert run == {"kind": "turn", "state": "queued", "on_its_thread": True}


async def test_one_post_for_two_tenants_lands_in_the_right_ones_and_in_order_however_often_it_comes(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    the_meta_app(stack.admin_url, sealer)
    first = an_organisation(stack.admin_url, sealer, app="meta")
    second = an_organisation(stack.admin_url, sealer, app="meta")
    sender = a_number()
    changes = {
        organisation.phone_number_id: [
            a_change(
                organisation.phone_number_id,
                messages=[
                    a_text(f"{part}.{n}", sender=sender, timestamp=1_790_000_000 + 10 * part + n) for n in range(3)
                ],
            )
            for part in range(2)
        ]
        for organisation in (first, second)
    }
    all_changes = [change for of_one in changes.values() for change in of_one]
    batchings = [
        a_body(*([change] for change in all_changes)),
        a_body(all_changes),
        *(a_body([change]) for change in all_changes),
        a_body(*(changes[organisation.phone_number_id] for organisation in (first, second))),
    ]
    source = (await webhook_source(database, "meta"))["source_id"]
    posts = (batchings * 3)[:20]
    random.Random(7).shuffle(posts)

    async def post(body: bytes) -> None:
        await store(database, sealer, source, body, channel="meta")
        await split_due(database, sealer, limit=3)
        await explode_due(database, sealer, limit=5)

    await asyncio.gather(*(post(body) for body in posts))
    await take_in(database, sealer)
    for organisation in (first, second):
        texts = [row["text"] for row in await rows(database, organisation.tenant_id, TRANSCRIPT)]
        assert texts == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
        assert len(await rows(database, organisation.tenant_id, "SELECT FROM conversations")) == 1
        assert len(await rows(database, organisation.tenant_id, "SELECT FROM core.runs")) == 1


async def webhook_source(database: Database, name: str) -> dict[str, str]:
    from db.transactions import edge_tx

    async with edge_tx(database, commit="test") as connection:
        found = await (await connection.execute("SELECT * FROM core.webhook_source(%s)", (name,))).fetchone()
    assert found is not None
    return found


async def test_an_account_cannot_speak_for_the_account_of_another(
    database: Database, sealer: Sealer, stack: Stack, organisation: Organisation
) -> None:
    victim = an_organisation(stack.admin_url, sealer)
    body = a_body([a_change(victim.phone_number_id, messages=[a_text("I am not theirs", sender=a_number())])])
    await store(database, sealer, organisation.account_id, body)
    await take_in(database, sealer)
    assert await rows(database, victim.tenant_id, "SELECT FROM messages") == []
    async with queue_tx(database, commit="test") as connection:
        dead = await (
            await connection.execute(
                "SELECT state, error, tenant_id FROM core.inbox_events WHERE account_id LIKE %s",
                (f"{organisation.account_id}:%",),
            )
        ).fetchall()
    assert [(row["state"], row["tenant_id"]) for row in dead] == [("dead", None)]
    assert "unrouted" in dead[0]["error"]


async def test_what_speaks_of_the_whole_business_account_is_kept_with_whoever_signed_it(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    value = {"event": "APPROVED", "message_template_id": 1, "message_template_name": "welcome"}
    body = a_body([{"field": "message_template_status_update", "value": value}])
    await store(database, sealer, organisation.account_id, body, tenant_id=organisation.tenant_id)
    await take_in(database, sealer)
    events = await rows(database, organisation.tenant_id, "SELECT kind, state, error FROM core.inbox_events")
    assert events == [{"kind": "unknown", "state": "done", "error": None}]


async def test_a_body_that_is_no_envelope_is_a_dead_letter_and_its_neighbour_is_unharmed(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await store(database, sealer, organisation.account_id, b'{"object": "whatsapp_business_account", "entry": ')
    await receive(database, sealer, organisation, a_text("Still here", sender=a_number()))
    assert [row["text"] for row in await rows(database, organisation.tenant_id, TRANSCRIPT)] == ["Still here"]
    async with queue_tx(database, commit="test") as connection:
        cursor = await connection.execute(
            "SELECT state, error FROM core.inbox WHERE source_id = %s ORDER BY id", (organisation.account_id,)
        )
        first, second = await cursor.fetchall()
    assert (first["state"], second["state"]) == ("dead", "split")
    assert first["error"]


async def test_an_aadhaar_number_is_never_written_in_clear(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    await receive(database, sealer, organisation, a_text("my aadhaar is 2341 2341 2346", sender=a_number()))
    (message,) = await rows(database, organisation.tenant_id, "SELECT text, masked_hashes FROM messages")
    assert message["text"] == "my aadhaar is XXXX XXXX 2346"
    assert message["masked_hashes"] == [sealer.keyed_hash("234123412346")]


async def test_a_person_known_by_number_and_by_user_id_is_one_contact(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    number, user_id = a_number(), f"IN.{a_number()}"
    both = a_change(organisation.phone_number_id, messages=[a_text("one", sender=number, from_user_id=user_id)])
    both["value"]["contacts"][0]["user_id"] = user_id
    alone = a_change(organisation.phone_number_id, messages=[])
    nameless = a_text("two", sender="x", from_user_id=user_id)
    del nameless["from"]
    alone["value"] |= {"messages": [nameless], "contacts": [{"user_id": user_id, "profile": {"name": "Farah"}}]}
    for change in (both, alone):
        await store(database, sealer, organisation.account_id, a_body([change]))
        await take_in(database, sealer)
    assert len(await rows(database, organisation.tenant_id, "SELECT FROM contacts")) == 1
    assert len(await rows(database, organisation.tenant_id, "SELECT FROM conversations")) == 1
    assert [row["text"] for row in await rows(database, organisation.tenant_id, TRANSCRIPT)] == ["one", "two"]


async def test_a_reply_from_the_organisations_own_phone_silences_the_agent(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender = a_number()
    await receive(database, sealer, organisation, a_text("Anyone there?", sender=sender))
    echo = {"from": "911140000000", "to": sender, "id": a_wamid(), "timestamp": "1790000050", "type": "text"}
    change = a_change(organisation.phone_number_id, field="smb_message_echoes")
    change["value"]["message_echoes"] = [echo | {"text": {"body": "Yes, Meera here"}}]
    await store(database, sealer, organisation.account_id, a_body([change]))
    await take_in(database, sealer)
    await receive(database, sealer, organisation, a_text("Thanks", sender=sender, timestamp=1_790_000_060))
    assert [(r["text"], r["author"]) for r in await rows(database, organisation.tenant_id, TRANSCRIPT)] == [
        ("Anyone there?", "contact"), ("Yes, Meera here", "human"), ("Thanks", "contact"),
    ]  # fmt: skip
    assert await rows(database, organisation.tenant_id, "SELECT owner FROM conversations") == [{"owner": "person"}]
    assert (
        await rows(database, organisation.tenant_id, "SELECT FROM messages WHERE needs_answer AND run_id IS NULL") == []
    )


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(7)), data=st.data())
async def test_edits_revokes_reactions_and_statuses_end_the_same_in_every_order(
    database: Database, sealer: Sealer, organisation: Organisation, order: list[int], data: st.DataObject
) -> None:
    sender, wamid, other = a_number(), a_wamid(), a_wamid()
    base = 1_790_000_000

    def about(kind: str, at: int, **fields: object) -> dict[str, object]:
        message = a_text("", sender=sender, timestamp=base + at)
        del message["text"]
        return message | {"type": kind, kind: fields}

    events = [
        a_text("first words", sender=sender, wamid=wamid, timestamp=base),
        about("edit", 1, original_message_id=wamid, message={"type": "text", "text": {"body": "better words"}}),
        about("edit", 2, original_message_id=wamid, message={"type": "text", "text": {"body": "best words"}}),
        about("reaction", 3, message_id=wamid, emoji="👍"),
        about("reaction", 4, message_id=wamid, emoji=""),
        a_text("taken back", sender=sender, wamid=other, timestamp=base + 5),
        about("revoke", 6, original_message_id=other),
    ]
    for index in order:
        await receive(database, sealer, organisation, events[index])
        if data.draw(st.booleans()):
            await receive(database, sealer, organisation, events[index])
    messages = await rows(
        database, organisation.tenant_id,
        """SELECT text, edited, deleted, reactions FROM messages
           WHERE provider_message_id = ANY(%s) ORDER BY provider_ts""",
        [wamid, other],
    )  # fmt: skip
    assert messages == [
        {"text": "best words", "edited": True, "deleted": False, "reactions": {}},
        {"text": None, "edited": False, "deleted": True, "reactions": {}},
    ]


@given(statuses=st.lists(st.sampled_from(["sent", "delivered", "read", "failed"]), min_size=1, max_size=6))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_message_shows_the_furthest_status_in_whatever_order_they_arrive(
    database: Database, sealer: Sealer, organisation: Organisation, statuses: list[str]
) -> None:
    recipient, wamid, key = a_number(), a_wamid(), a_wamid()
    await receive(database, sealer, organisation, a_text("hello", sender=recipient))
    await rows(
        database, organisation.tenant_id,
        """INSERT INTO messages (id, conversation_id, account_id, direction, author, kind, text, status, effect_key)
           SELECT %s, id, account_id, 'outbound', 'agent', 'text', 'hi', 'sending', %s FROM conversations LIMIT 1
           RETURNING id""",
        a_wamid(), key,
    )  # fmt: skip
    for status in statuses:
        change = a_change(
            organisation.phone_number_id,
            statuses=[a_status(wamid, status, recipient=recipient, correlation=key)],
        )
        await store(database, sealer, organisation.account_id, a_body([change]))
        await take_in(database, sealer)
    (message,) = await rows(
        database, organisation.tenant_id, "SELECT status, provider_message_id FROM messages WHERE effect_key = %s", key
    )
    furthest = max(statuses, key=["sent", "delivered", "read", "failed"].index)
    assert message == {"status": furthest, "provider_message_id": wamid}
