"""Whose run is claimed next: tenants take turns, conversations have one run at a time, and nobody is starved."""

from collections.abc import Iterator

import psycopg
import pytest

from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import tenant_tx
from graphs.run_claim import ClaimedRun, claim_runs, release_run
from tests.conftest import Stack

#: The runs of this file alone are due.
IDLE = "UPDATE core.runs SET state = 'cancelled' WHERE state IN ('queued', 'running', 'waiting')"

RUN = """
WITH lease AS (
  INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%(conversation_id)s, current_user)
  ON CONFLICT DO NOTHING)
INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, due_at)
VALUES (%(id)s, current_user, %(conversation_id)s, %(kind)s, %(kind)s, %(id)s, %(state)s,
        clock_timestamp() - make_interval(secs => %(due_s_ago)s))
"""


@pytest.fixture(autouse=True)
def _idle(stack: Stack) -> Iterator[None]:
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute(IDLE)
        yield
        admin.execute(IDLE)


@pytest.fixture
def other(stack: Stack) -> TenantId:
    return create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")


async def due(
    database: Database,
    tenant_id: TenantId,
    *,
    due_s_ago: float = 1,
    conversation_id: str | None = None,
    kind: str = "turn",
    state: str = "queued",
) -> RunId:
    """A run that is due; of a conversation of its own where none is given."""
    run_id = RunId(new_id("run"))
    values = {
        "id": run_id, "conversation_id": conversation_id or new_id("cnv"), "kind": kind, "state": state,
        "due_s_ago": due_s_ago,
    }  # fmt: skip
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        await connection.execute(RUN, values)
    return run_id


async def claim(database: Database, limit: int) -> list[ClaimedRun]:
    return await claim_runs(database, worker="test", limit=limit)


def of(claimed: list[ClaimedRun], tenant_id: TenantId) -> list[RunId]:
    return [run.run_id for run in claimed if run.tenant_id == tenant_id]


async def test_a_long_queue_of_one_tenant_does_not_stand_before_the_runs_of_another(
    database: Database, tenant: TenantId, other: TenantId
) -> None:
    for place in range(40):
        await due(database, tenant, due_s_ago=100 - place)
    late = {await due(database, other) for _ in range(2)}
    claimed = await claim(database, 4)
    assert set(of(claimed, other)) == late
    assert len(of(claimed, tenant)) == 2


async def test_a_tenant_with_runs_at_work_yields_to_one_that_has_none(
    database: Database, tenant: TenantId, other: TenantId
) -> None:
    for _ in range(8):
        await due(database, tenant, due_s_ago=100)
    assert len(await claim(database, 3)) == 3
    for _ in range(5):
        await due(database, other)
    assert len(of(await claim(database, 3), other)) == 3
    evenly = await claim(database, 2)
    assert (len(of(evenly, tenant)), len(of(evenly, other))) == (1, 1)


async def test_one_conversation_with_many_due_runs_starves_no_other_of_its_tenant(
    database: Database, tenant: TenantId
) -> None:
    hot = new_id("cnv")
    crowd = [
        await due(database, tenant, due_s_ago=100 - place, conversation_id=hot, kind="hand_off") for place in range(30)
    ]
    quiet = {await due(database, tenant) for _ in range(2)}
    claimed = await claim(database, 4)
    assert {run.run_id for run in claimed} == {crowd[0], *quiet}
    assert await claim(database, 4) == []
    await release_run(database, claimed[0])
    assert [run.lease_id for run in await claim(database, 4)] == [claimed[0].lease_id]


async def test_a_run_that_was_interrupted_goes_before_the_next_turn_of_its_conversation(
    database: Database, tenant: TenantId
) -> None:
    conversation_id = new_id("cnv")
    queued = await due(database, tenant, due_s_ago=100, conversation_id=conversation_id)
    interrupted = await due(database, tenant, conversation_id=conversation_id, state="running")
    assert of(await claim(database, 4), tenant) == [interrupted]
    assert queued not in of(await claim(database, 4), tenant)


async def test_a_run_that_waits_is_claimed_once_its_time_is_over_and_not_before(
    database: Database, tenant: TenantId
) -> None:
    over = await due(database, tenant, state="waiting", kind="hand_off")
    await due(database, tenant, due_s_ago=-3600, state="waiting", kind="hand_off")
    # The claim that finds it overdue only lets it go on.
    claimed = [*await claim(database, 4), *await claim(database, 4)]
    assert of(claimed, tenant) == [over]
    assert await claim(database, 4) == []
