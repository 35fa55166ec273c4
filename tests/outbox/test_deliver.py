import asyncio
from collections.abc import Iterator
from datetime import datetime
from itertools import permutations
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from channels.events import StatusChanged
from core.errors import FenceLost
from core.ids import ConversationId, new_id
from db.transactions import tenant_tx
from inbox.changes import apply_status
from outbox.begin import Sending, begin
from outbox.claim import claim_due
from outbox.deliver import send, take_up_conversation
from outbox.outcome import write_sent
from outbox.policy import ATTEMPTS_MAX
from tests.eventually import eventually
from tests.outbox.outage import outage_for
from tests.outbox.scene import Scene, refused, sent

A_TAKEOVER = "UPDATE conversations SET owner = 'person' WHERE id = %s"


async def status_comes(scene: Scene, status: Any, *, wamid: str, correlation: str | None = None) -> None:
    event = StatusChanged(event_key=new_id("status"), provider_message_id=wamid, status=status, correlation=correlation)
    async with tenant_tx(scene.database, scene.tenant, commit="test") as connection:
        await apply_status(connection, scene.account, event)


def seconds_between(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()


async def test_a_queued_message_is_handed_over_once_and_shown_as_sent(scene: Scene) -> None:
    scene.provider.script = [sent("wamid.1")]
    key = await scene.queue(await scene.a_conversation(), "Namaste")
    assert await scene.deliver() == 1
    assert await scene.deliver() == 0
    [body] = scene.provider.bodies
    assert body["text"] == {"body": "Namaste"}
    assert body["biz_opaque_callback_data"] == key
    effect, message = await scene.effect(key), await scene.message(key)
    assert (effect["state"], effect["provider_message_id"], effect["attempts"]) == ("sent", "wamid.1", 1)
    assert message is not None
    assert (message["status"], message["provider_message_id"]) == ("sent", "wamid.1")


async def test_sending_is_committed_before_the_socket_opens(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    seen: list[tuple[str, int, str]] = []

    async def look() -> httpx.Response:
        effect, message = await scene.effect(key), await scene.message(key)
        assert message is not None
        seen.append((effect["state"], effect["attempts"], message["status"]))
        return sent("wamid.look")

    scene.provider.script = [look]
    await scene.deliver()
    assert seen == [("sending", 1, "sending")]


async def test_messages_of_a_conversation_leave_in_order(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    for text in ("one", "two", "three"):
        await scene.queue(conversation, text)
    while await scene.deliver():
        pass
    assert scene.provider.texts == ["one", "two", "three"]


async def test_what_this_process_committed_leaves_without_a_poll(scene: Scene) -> None:
    conversation, other = await scene.a_conversation(), await scene.a_conversation()
    await scene.queue(conversation, "now")
    await scene.queue(conversation, "next")
    await scene.queue(other, "not asked for")
    more = [await send_all(scene, conversation), await send_all(scene, conversation)]
    assert scene.provider.texts == ["now", "next"]
    assert more == [[True], [False]]


async def send_all(scene: Scene, conversation: ConversationId) -> list[bool]:
    sendings: list[Sending] = []
    await take_up_conversation(scene.outbox, scene.tenant, conversation, start=sendings.append)
    return [await send(scene.outbox, sending) for sending in sendings]


async def test_a_person_who_takes_over_between_queue_and_send_wins(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    key = await scene.queue(conversation)
    await scene.rows(A_TAKEOVER, conversation)
    assert await scene.deliver() == 0
    effect = await scene.effect(key)
    assert (effect["state"], effect["error"]) == ("superseded", "a person has taken the conversation over")
    assert await scene.message(key) is None
    assert scene.provider.bodies == []


async def test_a_takeover_waits_for_a_send_that_has_begun_and_no_send_begins_after_it(
    scene: Scene, admin_url: str
) -> None:
    conversation = await scene.a_conversation()
    key = await scene.queue(conversation)
    with psycopg.connect(admin_url) as person:
        person.execute(f"SET search_path TO {scene.tenant}".encode())
        person.execute(A_TAKEOVER, (conversation,))
        delivery = asyncio.create_task(scene.deliver())
        await eventually(lambda: waits_for_a_lock(admin_url))
        person.commit()
    assert await delivery == 0
    assert (await scene.effect(key))["state"] == "superseded"


async def waits_for_a_lock(admin_url: str) -> bool:
    with psycopg.connect(admin_url) as admin:
        waiting = admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return waiting is not None


async def test_statuses_that_came_before_the_answer_count_once_it_is_known(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())

    async def answer_late() -> httpx.Response:
        await status_comes(scene, "delivered", wamid="wamid.early")
        await status_comes(scene, "sent", wamid="wamid.early")
        return sent("wamid.early")

    scene.provider.script = [answer_late]
    await scene.deliver()
    message = await scene.message(key)
    assert message is not None
    assert (message["status"], message["provider_message_id"]) == ("delivered", "wamid.early")
    await status_comes(scene, "sent", wamid="wamid.early")
    assert (await scene.message(key) or {})["status"] == "delivered"


async def test_a_status_with_our_key_that_came_before_the_answer_is_not_set_back(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())

    async def answer_late() -> httpx.Response:
        await status_comes(scene, "read", wamid="wamid.echo", correlation=key)
        return sent("wamid.echo")

    scene.provider.script = [answer_late]
    await scene.deliver()
    assert (await scene.effect(key))["state"] == "sent"
    assert (await scene.message(key) or {})["status"] == "read"


async def test_an_id_that_another_message_has_already_does_not_lose_the_outcome(scene: Scene) -> None:
    first, second = [await scene.queue(await scene.a_conversation()) for _ in range(2)]
    scene.provider.script = [sent("wamid.same"), sent("wamid.same")]
    await scene.deliver()
    assert [(await scene.effect(key))["state"] for key in (first, second)] == ["sent", "sent"]
    ids = {(await scene.message(key) or {})["provider_message_id"] for key in (first, second)}
    assert ids == {"wamid.same", None}


async def test_a_refusal_for_now_is_tried_again_after_the_time_the_provider_asked_for(scene: Scene) -> None:
    scene.provider.script = [refused(131056, headers={"retry-after": "30"})]
    key = await scene.queue(await scene.a_conversation())
    await scene.deliver()
    effect = await scene.effect(key)
    assert (effect["state"], effect["attempts"]) == ("queued", 1)
    assert 29 <= seconds_between(effect["sending_at"], effect["due_at"]) <= 60
    assert (await scene.message(key) or {})["status"] == "queued"
    assert await scene.deliver() == 0
    await scene.set_effect(key, "due_at = now()")
    assert await scene.deliver() == 1
    assert (await scene.effect(key))["state"] == "sent"


async def test_the_last_refusal_parks_the_message_for_a_person(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    await scene.set_effect(key, f"attempts = {ATTEMPTS_MAX - 1}")
    scene.provider.script = [refused(130429, status=429)]
    await scene.deliver()
    effect, message = await scene.effect(key), await scene.message(key)
    assert effect["state"] == "parked"
    assert message is not None
    assert message["status"] == "failed"
    assert message["faults"][0]["code"] == "130429"


async def test_a_definite_no_fails_the_message_with_its_reason(scene: Scene) -> None:
    scene.provider.script = [refused(131047)]
    key = await scene.queue(await scene.a_conversation())
    await scene.deliver()
    message = await scene.message(key)
    assert (await scene.effect(key))["state"] == "failed"
    assert message is not None
    assert message["status"] == "failed"
    assert (message["faults"][0]["code"], message["faults"][0]["remedy"]) == ("131047", "person")


async def test_a_dead_token_stops_the_account_and_its_other_messages_wait(scene: Scene) -> None:
    scene.provider.script = [refused(190, status=401)]
    first, second = [await scene.queue(await scene.a_conversation()) for _ in range(2)]
    await scene.deliver(limit=1)
    [account] = await scene.rows("SELECT state, stop_reason FROM core.accounts WHERE id = %s", scene.account)
    assert account["state"] == "stopped"
    assert account["stop_reason"].startswith("190: ")
    assert await scene.deliver() == 0
    assert {(await scene.effect(key))["state"] for key in (first, second)} == {"parked", "queued"}
    assert len(scene.provider.bodies) == 1


async def test_an_account_that_stops_between_claim_and_send_burns_no_attempt(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    claims = await claim_due(scene.database, lanes=[scene.lane], limit=16)
    await scene.rows("UPDATE core.accounts SET state = 'stopped' WHERE id = %s", scene.account)
    async with tenant_tx(scene.database, scene.tenant, commit="test") as connection:
        assert await begin(connection, scene.sealer, claims) == []
    effect = await scene.effect(key)
    assert (effect["state"], effect["attempts"], effect["lease_until"]) == ("queued", 0, None)


async def test_an_unclear_answer_is_never_taken_for_a_failure(scene: Scene) -> None:
    scene.provider.script = [httpx.ReadTimeout("no answer")]
    key = await scene.queue(await scene.a_conversation())
    await scene.deliver()
    assert (await scene.effect(key))["state"] == "unknown"
    assert (await scene.message(key) or {})["status"] == "unknown"
    assert await scene.deliver() == 0
    assert len(scene.provider.bodies) == 1


async def test_a_defect_after_the_call_leaves_the_message_unknown(scene: Scene) -> None:
    scene.provider.script = [ValueError("a defect of ours")]
    key = await scene.queue(await scene.a_conversation())
    await scene.deliver()
    effect = await scene.effect(key)
    assert (effect["state"], effect["error"]) == ("unknown", "ValueError: a defect of ours: it may have been sent")


async def test_a_sign_of_reading_is_sent_once_and_never_again(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    fine, late, broken = [await scene.queue_sign_of_reading(conversation) for _ in range(3)]
    await scene.set_effect(late, "created_at = now() - interval '21 seconds'")
    scene.provider.script = [httpx.Response(200, json={"success": True}), httpx.ReadTimeout("no answer")]
    assert await scene.deliver() == 2
    assert await scene.deliver() == 0
    states = {key: (await scene.effect(key))["state"] for key in (fine, late, broken)}
    assert states == {fine: "sent", late: "superseded", broken: "failed"}
    assert scene.provider.bodies[0]["status"] == "read"


async def test_a_sign_of_reading_is_left_out_once_its_run_is_over(scene: Scene) -> None:
    conversation, run_id = await scene.a_conversation(), new_id("run")
    await scene.rows(
        "INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state) "
        "VALUES (%s, %s, %s, 'turn', 'conversation', %s, 'succeeded')",
        run_id, scene.tenant, conversation, conversation,
    )  # fmt: skip
    key = await scene.queue_sign_of_reading(conversation, run_id=run_id)
    assert await scene.deliver() == 0
    assert (await scene.effect(key))["state"] == "superseded"


async def test_a_zombie_whose_fence_is_old_writes_nothing(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    [sending] = await scene.take_up()
    await scene.set_effect(key, "fence = fence + 1")
    with pytest.raises(FenceLost):
        async with tenant_tx(scene.database, scene.tenant, commit="test") as connection:
            await write_sent(connection, sending, "wamid.zombie")
    assert await send(scene.outbox, sending) is False
    assert (await scene.effect(key))["provider_message_id"] is None
    assert (await scene.message(key) or {})["provider_message_id"] is None


async def test_a_stored_message_that_is_not_of_the_vocabulary_is_parked_and_harms_no_other(scene: Scene) -> None:
    poison, good = [await scene.queue(await scene.a_conversation()) for _ in range(2)]
    await scene.rows("UPDATE core.effects SET payload = %s WHERE key = %s", Jsonb({"kind": "smoke"}), poison)
    assert await scene.deliver() == 1
    assert (await scene.effect(poison))["state"] == "parked"
    assert (await scene.effect(good))["state"] == "sent"


async def test_an_answer_is_written_once_the_database_is_back(scene: Scene, admin_url: str) -> None:
    key = await scene.queue(await scene.a_conversation())
    outages: list[asyncio.Task[None]] = []

    async def answer_while_the_database_goes_away() -> httpx.Response:
        down = asyncio.Event()
        outages.append(asyncio.create_task(outage_for(admin_url, 1.0, down)))
        await down.wait()
        return sent("wamid.back")

    scene.provider.script = [answer_while_the_database_goes_away]
    await scene.deliver()
    await outages[0]
    assert (await scene.effect(key))["state"] == "sent"


def orders_of_arrival() -> Iterator[tuple[list[str], list[str]]]:
    """Statuses that come before the answer, and those that come after it."""
    for count in (1, 2):
        for statuses in permutations(["sent", "delivered", "read", "failed"], count):
            for answered in range(count + 1):
                yield list(statuses[:answered]), list(statuses[answered:])


async def test_statuses_and_answer_end_alike_in_whatever_order_they_come(scene: Scene) -> None:
    for before, after in orders_of_arrival():
        key = await scene.queue(await scene.a_conversation())

        async def answer(wamid: str = key, early: list[str] = before) -> httpx.Response:
            for status in early:
                await status_comes(scene, status, wamid=wamid)
            return sent(wamid)

        scene.provider.script = [answer]
        await scene.deliver()
        for status in after:
            await status_comes(scene, status, wamid=key)
        furthest = max(before + after, key=["sent", "delivered", "read", "failed"].index)
        assert (await scene.message(key) or {})["status"] == furthest
