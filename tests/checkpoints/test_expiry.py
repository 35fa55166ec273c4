"""Which threads lose their checkpoints for their age, and which never do."""

import asyncio
from typing import Any

import pytest

from checkpoints import expiry
from checkpoints.expiry import expire_checkpoints, schedule_daily
from checkpoints.legal_holds import hold_conversation
from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import queue_tx, tenant_tx
from tests.builders import rows
from tests.checkpoints.threads import Thread, a_thread
from tests.conftest import Stack

TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
DAYS = 30


async def expire(thread: Thread, *, days: int = DAYS) -> int:
    return await expire_checkpoints(thread.database, thread.tenant_id, days=days)


async def sizes(thread: Thread) -> list[int]:
    """How many rows each table of checkpoints has of this thread."""
    return [await thread.count(table) for table in TABLES]


async def an_old_thread(database: Database, tenant_id: TenantId, *states: str, days: int = DAYS + 1) -> Thread:
    """A thread whose runs ended `days` days ago in these states."""
    thread = await a_thread(database, tenant_id)
    for state in states or ("succeeded",):
        await thread.run(state=state)
    await thread.age(days=days)
    return thread


async def test_a_thread_whose_last_run_ended_too_long_ago_loses_its_checkpoints_and_nothing_else(
    database: Database, tenant: TenantId
) -> None:
    thread = await an_old_thread(database, tenant, "succeeded", "dead", "failed", "cancelled")
    run_ids = set(await thread.kept())
    async with tenant_tx(database, tenant, commit="test") as connection:
        await connection.execute(
            """INSERT INTO core.run_steps (run_id, position, tenant_id, node, author, attempt, started_at, duration_ms)
               SELECT id, 0, tenant_id, 'reply', 'agent', 1, now(), 1 FROM core.runs WHERE tenant_id = current_user"""
        )
    assert await expire(thread) == 1
    assert await sizes(thread) == [0, 0, 0]
    assert await thread.kept() == dict.fromkeys(run_ids, False)
    assert len(await rows(database, tenant, "SELECT FROM core.run_steps")) == len(run_ids)
    assert await expire(thread) == 0


async def test_a_thread_that_was_used_since_keeps_all_of_it(database: Database, tenant: TenantId) -> None:
    thread = await an_old_thread(database, tenant)
    await thread.run()
    recent = await an_old_thread(database, tenant, days=DAYS - 1)
    before = [await sizes(thread), await sizes(recent)]
    assert await expire(thread) == 0
    assert [await sizes(thread), await sizes(recent)] == before


@pytest.mark.parametrize("state", ["waiting", "queued", "running"])
async def test_a_thread_with_a_run_that_is_not_over_keeps_all_of_it(
    database: Database, tenant: TenantId, state: str
) -> None:
    thread = await an_old_thread(database, tenant, state, "succeeded")
    before = await sizes(thread)
    assert await expire(thread) == 0
    assert await sizes(thread) == before


async def test_a_finished_run_with_a_thread_of_its_own_goes_while_its_conversation_lives(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    run_id = await thread.queue(thread_id=(own := Thread(database, tenant)).id)
    await own.advance(run_id, "approve?")
    await thread.end(run_id, "succeeded")
    await thread.age(days=DAYS + 1)
    await thread.run()
    before = await sizes(thread)
    assert await expire(thread) == 1
    assert await sizes(own) == [0, 0, 0]
    assert await sizes(thread) == before


async def test_a_thread_that_is_being_forked_is_left_until_the_fork_has_ended(
    database: Database, tenant: TenantId
) -> None:
    thread = await an_old_thread(database, tenant)
    before = await sizes(thread)
    fork_id = await thread.fork(RunId(next(iter(await thread.kept()))))
    assert await expire(thread) == 0
    assert await sizes(thread) == before
    await thread.end(fork_id, "dead")
    assert await expire(thread) == 1


async def test_a_held_conversation_keeps_all_of_it_until_it_is_released(database: Database, tenant: TenantId) -> None:
    thread = await an_old_thread(database, tenant)
    before = await sizes(thread)
    async with tenant_tx(database, tenant, commit="test") as connection:
        await hold_conversation(connection, thread.id, "a dispute")
    assert await expire(thread) == 0
    assert await sizes(thread) == before
    await rows(database, tenant, "UPDATE conversations SET legal_hold_reason = NULL RETURNING 1")
    assert await expire(thread) == 1


@pytest.mark.parametrize("of_whom", ["a worker", "another expiry"])
async def test_a_thread_that_somebody_else_holds_is_left_for_the_next_day(
    database: Database, tenant: TenantId, of_whom: str
) -> None:
    thread = await an_old_thread(database, tenant)
    before = await sizes(thread)
    if of_whom == "a worker":
        lease = "UPDATE core.conversation_leases SET lease_until = now() + interval '5 s' RETURNING 1"
        await rows(database, tenant, lease)
        assert await expire(thread) == 0
    else:
        async with tenant_tx(database, tenant, commit="test") as connection:
            await connection.execute("SELECT FROM core.conversation_leases FOR UPDATE")
            assert await expire(thread) == 0
    assert await sizes(thread) == before


async def test_a_run_that_begins_meanwhile_is_seen(
    database: Database, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message comes between the look at the page and the lock."""
    thread = await an_old_thread(database, tenant)
    before = await sizes(thread)
    look = expiry._page

    async def page_then_message(connection: Any, after: str, days: int) -> list[dict[str, Any]]:
        found = await look(connection, after, days)
        if not after:
            await thread.end(await thread.queue(), "queued")
        return found

    monkeypatch.setattr(expiry, "_page", page_then_message)
    assert await expire(thread) == 0
    assert await sizes(thread) == before


async def test_zero_days_mean_never(database: Database, tenant: TenantId) -> None:
    thread = await an_old_thread(database, tenant, days=10_000)
    assert await expire(thread, days=0) == 0
    assert await thread.count("checkpoints") > 0


async def test_many_threads_go_page_by_page(
    database: Database, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "THREADS_MAX", 2)
    threads = [await an_old_thread(database, tenant, days=DAYS - 1 + 2 * (number % 2)) for number in range(7)]
    assert await expire(threads[0]) == 3
    kept = await rows(database, tenant, "SELECT DISTINCT thread_id FROM checkpoints")
    assert {row["thread_id"] for row in kept} == {thread.id for thread in threads[::2]}


async def test_another_tenants_threads_are_not_touched(database: Database, stack: Stack, tenant: TenantId) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    theirs = await an_old_thread(database, other)
    assert await expire(await an_old_thread(database, tenant)) == 1
    assert await theirs.count("checkpoints") > 0


async def jobs_of(database: Database, tenant: TenantId) -> list[dict[str, Any]]:
    return await rows(
        database, tenant,
        """SELECT state, lane, due_at > clock_timestamp() + interval '17 h'
             AND due_at < clock_timestamp() + interval '31 h' AS about_a_day_from_now
           FROM core.jobs WHERE kind = 'checkpoints.expire' ORDER BY created_at""",
    )  # fmt: skip


async def test_every_tenant_is_looked_through_once_a_day(database: Database, stack: Stack, tenant: TenantId) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    await asyncio.gather(*(schedule_daily(database) for _ in range(3)))
    waiting = {"state": "queued", "lane": "background", "about_a_day_from_now": True}
    assert await jobs_of(database, tenant) == [waiting]
    assert await jobs_of(database, other) == [waiting]
    assert await schedule_daily(database) == 0
    async with queue_tx(database, commit="test") as connection:
        await connection.execute("UPDATE core.jobs SET state = 'done' WHERE tenant_id = %s", (tenant,))
    assert await schedule_daily(database) == 1
    assert await jobs_of(database, tenant) == [waiting | {"state": "done"}, waiting]
