"""What is done beside the conversations: keys and holds, daily jobs, a number that is registered late."""

from types import SimpleNamespace
from typing import Any, cast

import psycopg

from channels.protocol import Secrets
from channels.registration import add_account
from checkpoints.retention import PRUNE_JOB
from core.clock import utc_now
from db.jobs import schedule
from db.transactions import queue_tx, tenant_tx
from inbox.unrouted import route_event
from tests.builders import APP_SECRET, a_text, the_meta_app
from tests.crash.world import ASKS, TIMESTAMP, World
from tests.inbox.dead import an_unrouted_event
from worker.handlers import job_handlers
from worker.runtime import open_runtime
from worker.stages import daily

CONVERSATION = "SELECT id, legal_hold_reason FROM conversations ORDER BY created_at LIMIT 1"
UNROUTED = "SELECT id FROM core.inbox_events WHERE tenant_id IS NULL AND account_id = %s AND state = 'dead'"
NOW = "UPDATE core.jobs SET due_at = now() WHERE state = 'queued' RETURNING 1"


async def housekeeping(world: World) -> None:
    await (await open_runtime()).close()
    world.handlers = job_handlers(_runtime(world))
    await world.receive(a_text("When are you open?", sender=ASKS, wamid="wamid.opens", timestamp=TIMESTAMP))
    await world.work()
    await _keys_and_holds(world)
    await _daily(world)
    await _late_number(world)


async def _keys_and_holds(world: World) -> None:
    if not await world.rows("SELECT 1 FROM core.api_keys WHERE name = 'crash'"):
        await world.chowk("api-key", "create", "--tenant", world.place.slug, "--name", "crash")
    (conversation,) = await world.rows(CONVERSATION)
    async with world.api() as api:
        path = f"/v1/conversations/{conversation['id']}/legal-hold"
        for answer in (await api.put(path, json={"reason": "a case"}), await api.delete(path)):
            assert answer.is_success, answer.text
    held = ("--tenant", world.place.slug)
    await world.chowk("conversation", "hold", conversation["id"], *held, "--reason", "another case")
    await world.chowk("conversation", "release", conversation["id"], *held)


def _runtime(world: World) -> Any:
    """As much of a worker's runtime as its daily work needs."""
    return SimpleNamespace(database=world.database)


async def _daily(world: World) -> None:
    runtime = _runtime(world)
    (conversation,) = await world.rows(CONVERSATION)
    if not await world.rows("SELECT 1 FROM core.jobs WHERE kind = %s", PRUNE_JOB):
        async with tenant_tx(world.database, world.tenant_id, commit="test") as connection:
            await schedule(
                connection, tenant_id=world.tenant_id, kind=PRUNE_JOB, unique_key="crash", due_at=utc_now(),
                payload={"thread_id": conversation["id"]},
            )  # fmt: skip
    await daily(runtime).claim(1, cast("Any", None))
    await world.rows(NOW)
    await world.work()


async def _late_number(world: World) -> None:
    """A message came for a number that nobody had registered; now somebody has."""
    place, number = world.place, f"{world.place.phone_number_id}7"
    the_meta_app(place.admin_url, world.sealer)
    with psycopg.connect(place.admin_url) as admin:
        (app_id,) = admin.execute("SELECT id FROM core.apps WHERE provider = 'meta'").fetchone() or ("",)
        registered = admin.execute("SELECT FROM core.accounts WHERE external_id = %s", (number,)).fetchone()
    if registered is None:
        await an_unrouted_event(world.database, world.sealer, app_id, number, wamid=f"wamid.{number}")
        add_account(
            place.admin_url, world.sealer, tenant_id=world.tenant_id, channel="whatsapp", external_id=number,
            name="Late", secrets=Secrets(signing=(APP_SECRET,), access_token="token"), app="meta",
        )  # fmt: skip
    async with queue_tx(world.database, commit="test") as connection:
        unrouted = await (await connection.execute(UNROUTED, (f"{app_id}:{number}",))).fetchall()
    for event in unrouted:
        await route_event(world.database, world.sealer, event["id"])
    await world.work()
