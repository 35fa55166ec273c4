import asyncio

import psycopg

from core.crypto import Sealer
from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from outbox.claim import BACKLOG_S_MAX, claim_due
from tests.outbox.scene import Scene, a_scene

A_BODY = """
INSERT INTO core.inbox (source_id, tenant_id, channel, verdict, dedupe_key, body_bytes, received_at)
VALUES (%s, %s, 'whatsapp', 'signed', %s, 1, now() - interval '1 minute') RETURNING id
"""

AN_EVENT = """
INSERT INTO core.inbox_events (inbox_id, position, tenant_id, account_id, event_key, kind, received_at)
VALUES (%s, 0, %s, %s, 'status', 'status_changed', now() - interval '1 minute') RETURNING id
"""


async def claimed_keys(scene: Scene, *, lanes: list[str] | None = None, limit: int = 16) -> list[str]:
    claims = await claim_due(scene.database, lanes=lanes or [scene.lane], limit=limit)
    rows = await scene.rows("SELECT id, key FROM core.effects")
    keys = {row["id"]: row["key"] for row in rows}
    return [keys.get(claim.effect_id, "another tenant's") for claim in claims]


async def test_an_effect_is_claimed_once_while_its_lease_lasts(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    assert await claimed_keys(scene) == [key]
    assert await claimed_keys(scene) == []
    await scene.set_effect(key, "lease_until = now() - interval '1 second'")
    assert await claimed_keys(scene) == [key]
    assert (await scene.effect(key))["fence"] == 2


async def test_concurrent_workers_never_claim_the_same_effect(scene: Scene) -> None:
    keys = [await scene.queue(await scene.a_conversation()) for _ in range(12)]
    rounds = await asyncio.gather(*(claimed_keys(scene, limit=5) for _ in range(6)))
    claimed = [key for keys_of_one in rounds for key in keys_of_one]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= set(keys)
    assert {(await scene.effect(key))["fence"] for key in claimed} == {1}


async def test_a_message_waits_for_the_earlier_ones_of_its_conversation(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    first, second, third = [await scene.queue(conversation, text) for text in ("one", "two", "three")]
    assert await claimed_keys(scene) == [first]
    await scene.set_effect(first, "state = 'sending', lease_until = now() + interval '30 seconds'")
    assert await claimed_keys(scene) == []
    await scene.set_effect(first, "state = 'unknown', due_at = now() + interval '60 seconds', lease_until = NULL")
    assert await claimed_keys(scene) == [second]
    await scene.set_effect(second, "state = 'queued', due_at = now() + interval '60 seconds', lease_until = NULL")
    assert await claimed_keys(scene) == []
    await scene.set_effect(second, "state = 'parked'")
    assert await claimed_keys(scene) == [third]


async def test_a_sign_of_reading_neither_waits_nor_makes_wait(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    sign = await scene.queue_sign_of_reading(conversation)
    reply = await scene.queue(conversation)
    assert sorted(await claimed_keys(scene)) == sorted([sign, reply])


async def test_what_is_not_due_or_of_another_lane_is_left_alone(scene: Scene) -> None:
    later = await scene.queue(await scene.a_conversation())
    await scene.set_effect(later, "due_at = now() + interval '1 hour'")
    await scene.queue(await scene.a_conversation())
    assert await claimed_keys(scene, lanes=["no such lane"]) == []
    assert later not in await claimed_keys(scene)


async def test_the_effects_of_a_stopped_account_wait_and_are_not_touched(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    await scene.rows("UPDATE core.accounts SET state = 'stopped', stop_reason = 'token' WHERE id = %s", scene.account)
    assert await claimed_keys(scene) == []
    assert (await scene.effect(key))["fence"] == 0
    await scene.rows("UPDATE core.accounts SET state = 'active' WHERE id = %s", scene.account)
    assert await claimed_keys(scene) == [key]


async def test_a_tenant_with_a_long_queue_does_not_keep_another_waiting(
    scene: Scene, database: Database, sealer: Sealer, admin_url: str
) -> None:
    small_tenant: TenantId = create_tenant(admin_url, slug=new_id("slug").replace("_", "-"), name="Small")
    small = a_scene(database, sealer, small_tenant, admin_url)
    for _ in range(20):
        await scene.queue(await scene.a_conversation())
    late = await small.queue(await small.a_conversation())
    await small.set_effect(late, f"lane = '{scene.lane}'")
    claims = await claim_due(database, lanes=[scene.lane], limit=4)
    assert [claim.tenant_id for claim in claims].count(small_tenant) == 1


async def test_an_unknown_effect_is_left_until_every_webhook_that_came_in_time_is_read(
    scene: Scene, admin_url: str
) -> None:
    key = await scene.queue(await scene.a_conversation())
    await scene.set_effect(key, "state = 'unknown', due_at = clock_timestamp()")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("UPDATE core.inbox SET state = 'done' WHERE state = 'new'")
        body = admin.execute(A_BODY, (scene.account, scene.tenant, key.encode())).fetchone()
        assert body is not None
        assert await claimed_keys(scene) == []
        admin.execute("UPDATE core.inbox SET state = 'done' WHERE id = %s", body)
        event = admin.execute(AN_EVENT, (*body, scene.tenant, scene.account)).fetchone()
        assert await claimed_keys(scene) == []
        admin.execute("UPDATE core.inbox_events SET state = 'done' WHERE id = %s", event)
    assert await claimed_keys(scene) == [key]


async def test_a_webhook_that_nobody_can_read_does_not_hold_up_an_unknown_effect_for_ever(
    scene: Scene, admin_url: str
) -> None:
    key = await scene.queue(await scene.a_conversation())
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(A_BODY, (scene.account, scene.tenant, key.encode()))
    await scene.set_effect(key, f"state = 'unknown', due_at = now() - interval '{BACKLOG_S_MAX} seconds'")
    assert await claimed_keys(scene) == [key]
