"""What pruning a thread leaves, and what it leaves alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints.legal_holds import hold_conversation, release_conversation
from checkpoints.retention import RUNS_KEPT, RUNS_SLACK, Pruned, prune_thread, schedule_prune_if_due
from core.ids import TenantId
from db.pools import Database
from db.transactions import tenant_tx
from tests.builders import rows
from tests.checkpoints.threads import CHECKPOINTS_PER_RUN, Thread, a_thread
from tests.conftest import Stack
from tests.eventually import eventually

FINISHED = ("succeeded", "cancelled")


async def prune(thread: Thread) -> Pruned:
    return await prune_thread(thread.database, thread.tenant_id, thread.id)


async def scheduled(thread: Thread) -> list[dict[str, Any]]:
    """The jobs that would prune this thread."""
    query = """SELECT lane, payload FROM core.jobs
               WHERE kind = 'checkpoints.prune' AND unique_key = %s AND state = 'queued'"""
    return await rows(thread.database, thread.tenant_id, query, thread.id)


async def schedule_if_due(thread: Thread) -> list[dict[str, Any]]:
    async with tenant_tx(thread.database, thread.tenant_id, commit="test") as connection:
        await schedule_prune_if_due(connection, thread.id)
    return await scheduled(thread)


async def hold(thread: Thread, reason: str | None = "a dispute") -> None:
    async with tenant_tx(thread.database, thread.tenant_id, commit="test") as connection:
        if reason is None:
            await release_conversation(connection, thread.id)
        else:
            await hold_conversation(connection, thread.id, reason)


async def test_the_last_finished_runs_keep_every_checkpoint_of_their_own_graph(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    run_ids = [await thread.run(f"turn {number}") for number in range(6)]
    assert await prune(thread) == Pruned(checkpoints=3 * CHECKPOINTS_PER_RUN + 6 * 4, runs=3)
    assert await thread.checkpoints(nested=False) == dict.fromkeys(run_ids[-RUNS_KEPT:], CHECKPOINTS_PER_RUN)
    assert await thread.kept() == {run_id: run_id in run_ids[-RUNS_KEPT:] for run_id in run_ids}
    assert await prune(thread) == Pruned(0, 0)


async def test_of_finished_runs_the_nested_agents_and_the_tasks_writes_go(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    await thread.run()
    assert await thread.checkpoints(nested=True) != {}
    assert await thread.count("checkpoint_writes") > 0
    await prune(thread)
    assert await thread.checkpoints(nested=True) == {}
    assert await thread.count("checkpoint_writes") == 0
    assert await thread.useless_blobs() == 0


async def test_what_is_kept_reads_as_before_and_the_next_turn_stands_on_it(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    for number in range(6):
        await thread.run(f"turn {number}")
    before = await thread.history()
    newest = await thread.graph().aget_state(thread.config())
    await prune(thread)
    after = await thread.history()
    assert list(after) == list(before)[: RUNS_KEPT * CHECKPOINTS_PER_RUN]
    assert after == {checkpoint_id: before[checkpoint_id] for checkpoint_id in after}
    for checkpoint_id, (values, _) in after.items():
        assert (await thread.graph().aget_state(thread.config(checkpoint_id))).values == values
    assert await thread.graph().aget_state(thread.config()) == newest
    state = await thread.advance(await thread.queue(), "once more")
    assert state["log"] == [*newest.values["log"], "heard once more", "answered once more"]


async def test_the_oldest_kept_checkpoint_names_no_parent_that_is_gone(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    for _ in range(RUNS_KEPT + 1):
        await thread.run()
    await prune(thread)
    history = [snapshot async for snapshot in thread.graph().aget_state_history(thread.config())]
    assert [snapshot.parent_config is None for snapshot in history] == [False] * (len(history) - 1) + [True]


async def test_a_kept_checkpoint_can_be_forked_onto_a_thread_of_its_own(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    for number in range(RUNS_KEPT + 2):
        await thread.run(f"turn {number}")
    await prune(thread)
    for checkpoint_id, (values, following) in (await thread.history()).items():
        if following != ("reply",):
            continue
        fork = await a_thread(database, tenant)
        await fork.graph().aupdate_state(fork.config(), values | {"said": "edited"}, as_node="recall")
        state = await fork.graph().ainvoke(None, fork.config(), durability="sync")
        assert state["log"] == [*values["log"], "answered edited"]
        assert (await thread.graph().aget_state(thread.config(checkpoint_id))).values == values


@pytest.mark.parametrize("state", ["failed", "dead", "waiting", "queued", "running"])
async def test_a_run_that_is_not_finished_keeps_everything_however_old(
    database: Database, tenant: TenantId, state: str
) -> None:
    thread = await a_thread(database, tenant)
    unfinished = await thread.run("what went wrong", state=state)
    nested, writes = await thread.checkpoints(nested=True), await thread.count("checkpoint_writes")
    before = await thread.history()
    for _ in range(RUNS_KEPT + RUNS_SLACK):
        await thread.run()
    await prune(thread)
    assert (await thread.checkpoints(nested=False))[unfinished] == CHECKPOINTS_PER_RUN
    assert await thread.checkpoints(nested=True) == nested
    assert await thread.count("checkpoint_writes") == writes
    after = await thread.history()
    assert {checkpoint_id: after[checkpoint_id] for checkpoint_id in before} == before
    assert (await thread.kept())[unfinished]


async def test_a_run_that_is_being_forked_stays_until_its_fork_has_ended(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    run_id = await thread.run()
    for _ in range(RUNS_KEPT):
        await thread.run()
    fork_id = await thread.fork(run_id)
    await prune(thread)
    assert (await thread.checkpoints(nested=False))[run_id] == CHECKPOINTS_PER_RUN
    await thread.end(fork_id, "succeeded")
    assert (await prune(thread)).runs == 1
    assert run_id not in await thread.checkpoints(nested=False)


async def test_a_run_that_was_stopped_goes_on_where_it_stopped_after_a_prune(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    for number in range(RUNS_KEPT + 1):
        await thread.run(f"turn {number}")
    run_id = await thread.queue()
    interrupted = await thread.pause(run_id, "stopped")
    interrupted.cancel()
    await asyncio.wait([interrupted])
    await prune(thread)
    thread.go_on.set()
    state = await thread.advance(run_id, None)
    spoken = [f"turn {number}" for number in range(RUNS_KEPT + 1)] + ["stopped"]
    assert state["log"] == [line for said in spoken for line in (f"heard {said}", f"answered {said}")]


async def test_turns_that_are_taken_while_the_thread_is_pruned_lose_nothing(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    pruned: list[Pruned] = []
    done = asyncio.Event()

    async def prune_without_end() -> None:
        while not done.is_set():
            pruned.append(await prune(thread))

    pruning = [asyncio.create_task(prune_without_end()) for _ in range(2)]
    spoken = [f"turn {number}" for number in range(12)]
    try:
        for said in spoken:
            await thread.run(said)
    finally:
        done.set()
        await asyncio.gather(*pruning)
    await prune(thread)
    state = await thread.graph().aget_state(thread.config())
    assert state.values["log"] == [line for said in spoken for line in (f"heard {said}", f"answered {said}")]
    assert sum(found.runs for found in pruned) <= len(spoken) - RUNS_KEPT
    assert sum((await thread.checkpoints(nested=False)).values()) == RUNS_KEPT * CHECKPOINTS_PER_RUN
    assert await thread.useless_blobs() == 0


async def test_the_newest_checkpoint_stays_whatever_run_it_is_of(database: Database, tenant: TenantId) -> None:
    """One process was paused, its run was finished by another, others followed; then it writes."""
    thread = await a_thread(database, tenant)
    late = await thread.run("late")
    for _ in range(RUNS_KEPT + 1):
        await thread.run()
    await thread.advance(late, "late")
    newest = await thread.graph().aget_state(thread.config())
    await prune(thread)
    found = await thread.graph().aget_state(thread.config())
    assert (found.config, found.values) == (newest.config, newest.values)
    assert (await thread.checkpoints(nested=False))[late] == 1


async def test_another_thread_and_another_tenant_are_not_touched(database: Database, tenant: TenantId) -> None:
    thread, other = await a_thread(database, tenant), await a_thread(database, tenant)
    for _ in range(RUNS_KEPT + 1):
        await thread.run()
        await other.run()
    before = await other.history()
    await prune(thread)
    assert await other.history() == before
    assert await other.count("checkpoint_writes") > 0


async def test_a_prune_is_scheduled_once_when_more_runs_than_the_slack_have_checkpoints(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    for number in range(RUNS_KEPT + RUNS_SLACK):
        await thread.end(await thread.queue(), FINISHED[number % 2])
        await thread.end(await thread.queue(), "dead")
    assert await schedule_if_due(thread) == []
    await thread.end(await thread.queue(), "succeeded")
    job = {"lane": "background", "payload": {"thread_id": thread.id}}
    assert await schedule_if_due(thread) == [job]
    assert await schedule_if_due(thread) == [job]


async def test_a_pruned_thread_is_due_again_after_as_many_turns_as_were_pruned(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    due: list[int] = []
    for number in range(1, 20):
        await thread.leave_a_checkpoint("succeeded", number)
        if await schedule_if_due(thread):
            due.append(number)
            await prune(thread)
            await rows(database, tenant, "UPDATE core.jobs SET state = 'done' RETURNING 1")
    first, period = RUNS_KEPT + RUNS_SLACK + 1, RUNS_SLACK + 1
    assert due == list(range(first, 20, period))


async def test_runs_that_left_no_checkpoint_do_not_take_the_place_of_those_that_did(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    run_ids = [await thread.leave_a_checkpoint("succeeded", number) for number in range(RUNS_KEPT)]
    for _ in range(RUNS_KEPT + RUNS_SLACK + 1):
        await thread.end(await thread.queue(), "succeeded")
    assert len(await schedule_if_due(thread)) == 1
    assert await prune(thread) == Pruned(checkpoints=0, runs=RUNS_KEPT + RUNS_SLACK + 1)
    assert {run_id for run_id, kept in (await thread.kept()).items() if kept} == set(run_ids)


async def test_nothing_of_a_held_conversation_is_pruned_until_it_is_released(
    database: Database, tenant: TenantId
) -> None:
    thread = await a_thread(database, tenant)
    for _ in range(RUNS_KEPT + RUNS_SLACK + 1):
        await thread.run()
    before = await thread.history()
    await hold(thread)
    assert await schedule_if_due(thread) == []
    assert await prune(thread) == Pruned(0, 0)
    assert await thread.history() == before
    await hold(thread, None)
    assert len(await scheduled(thread)) == 1
    assert (await prune(thread)).runs == RUNS_SLACK + 1


async def test_a_hold_that_is_being_set_is_waited_for(database: Database, stack: Stack, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    for _ in range(RUNS_KEPT + 1):
        await thread.run()
    async with tenant_tx(database, tenant, commit="test") as connection:
        await hold_conversation(connection, thread.id, "a dispute")
        pruning = asyncio.create_task(prune(thread))
        await eventually(waits_for_the_conversation(stack))
    assert await pruning == Pruned(0, 0)


def waits_for_the_conversation(stack: Stack) -> Callable[[], Awaitable[bool]]:
    """Whether a prune waits for somebody else's transaction."""
    query = """SELECT FROM pg_stat_activity
               WHERE wait_event_type = 'Lock' AND query LIKE '%legal_hold_reason%' AND query LIKE '%FOR SHARE%'"""

    async def waits() -> bool:
        async with await psycopg.AsyncConnection.connect(stack.admin_url) as admin:
            return (await admin.execute(query.encode())).rowcount > 0

    return waits


STATES = st.sampled_from(["succeeded", "cancelled", "failed", "dead", "waiting", "queued", "running"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(states=st.lists(STATES, max_size=12))
async def test_of_any_runs_exactly_the_right_ones_keep_their_checkpoints(
    database: Database, tenant: TenantId, states: list[str]
) -> None:
    thread = await a_thread(database, tenant)
    run_ids = [await thread.leave_a_checkpoint(state, number) for number, state in enumerate(states)]
    finished = [run_id for run_id, state in zip(run_ids, states, strict=True) if state in FINISHED]
    expected = set(run_ids) - set(finished[:-RUNS_KEPT])
    await prune(thread)
    assert set(await thread.checkpoints(nested=False)) == expected
    assert await thread.kept() == {run_id: run_id in expected for run_id in run_ids}
    assert await thread.useless_blobs() == 0
    needed = {(number, number // 2) for number, run_id in enumerate(run_ids) if run_id in expected}
    found = await rows(database, tenant, "SELECT version FROM checkpoint_blobs WHERE thread_id = %s", thread.id)
    assert {int(row["version"]) for row in found} == {version for pair in needed for version in pair}
