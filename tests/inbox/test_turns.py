from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.ids import ConversationId, TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from inbox.debounce import QUIET_MULTIPLE_MAX
from inbox.turns import request_turn
from tests.builders import rows

TURNS = """
SELECT id, due_at, (extract(epoch FROM due_at - created_at) * 1000)::float8 AS due_in_ms FROM core.runs
WHERE conversation_id = %s ORDER BY created_at
"""


async def ask(
    database: Database,
    tenant: TenantId,
    conversation_id: ConversationId,
    *,
    debounce_ms: int,
    quiet_ms: int | None = None,
) -> dict[str, Any]:
    """Ask for a turn; gives the one turn that waits."""
    async with tenant_tx(database, tenant, commit="test") as connection:
        await request_turn(
            connection, tenant_id=tenant, conversation_id=conversation_id, debounce_ms=debounce_ms, quiet_ms=quiet_ms
        )
    (turn,) = await rows(database, tenant, TURNS, conversation_id)
    return turn


def a_conversation() -> ConversationId:
    return ConversationId(new_id("conv"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    debounce_ms=st.integers(0, 60_000),
    quiet_times_ms=st.lists(st.integers(0, 400_000), min_size=1, max_size=6),
)
async def test_a_turn_is_due_at_the_latest_some_quiet_times_after_it_was_first_asked_for(
    database: Database, tenant: TenantId, debounce_ms: int, quiet_times_ms: list[int]
) -> None:
    conversation = a_conversation()
    found = [
        await ask(database, tenant, conversation, debounce_ms=debounce_ms, quiet_ms=quiet_ms)
        for quiet_ms in quiet_times_ms
    ]
    assert all(turn["due_in_ms"] <= debounce_ms * QUIET_MULTIPLE_MAX for turn in found)
    assert len({turn["id"] for turn in found}) == 1


async def test_a_message_that_reads_as_finished_brings_the_turn_forward(database: Database, tenant: TenantId) -> None:
    conversation = a_conversation()
    after_a_fragment = await ask(database, tenant, conversation, debounce_ms=10_000, quiet_ms=20_000)
    after_the_question = await ask(database, tenant, conversation, debounce_ms=10_000, quiet_ms=5_000)
    assert after_the_question["due_at"] < after_a_fragment["due_at"]


async def test_without_a_debounce_a_turn_is_due_at_once(database: Database, tenant: TenantId) -> None:
    conversation = a_conversation()
    first = await ask(database, tenant, conversation, debounce_ms=0)
    assert first["due_in_ms"] <= 0
    assert await ask(database, tenant, conversation, debounce_ms=0) == first


async def test_what_wakes_the_conversation_joins_a_turn_that_waits_for_somebody_who_writes(
    database: Database, tenant: TenantId
) -> None:
    conversation = a_conversation()
    waiting = await ask(database, tenant, conversation, debounce_ms=10_000)
    assert await ask(database, tenant, conversation, debounce_ms=0) == waiting


async def test_a_turn_that_has_begun_is_not_joined(database: Database, tenant: TenantId) -> None:
    conversation = a_conversation()
    begun = await ask(database, tenant, conversation, debounce_ms=0)
    await rows(database, tenant, "UPDATE core.runs SET started_at = now() WHERE id = %s RETURNING id", begun["id"])
    async with tenant_tx(database, tenant, commit="test") as connection:
        await request_turn(connection, tenant_id=tenant, conversation_id=conversation, debounce_ms=10_000)
    first, second = await rows(database, tenant, TURNS, conversation)
    assert (first["due_at"], second["id"] != begun["id"]) == (begun["due_at"], True)
