from typing import Any

import pytest
from psycopg.types.json import Jsonb

from core.crypto import Sealer
from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from tests.api.conftest import RunningApi
from tests.api.test_conversations import get, key_of, pages
from tests.builders import Organisation, an_organisation
from tests.conftest import Stack

STEPS = 5


async def a_run(database: Database, tenant_id: TenantId) -> RunId:
    """A finished turn of five steps."""
    run_id = RunId(new_id("run"))
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        await connection.execute(
            """
            INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, prompt_refs, model,
                                   tokens_in, started_at, finished_at)
            VALUES (%s, %s, %s, 'turn', 'conversation', %s, 'succeeded', %s, 'offline', 12, now(), now())
            """,
            (run_id, tenant_id, new_id("conv"), new_id("conv"), Jsonb({"reply": "reply/answer@1"})),
        )
        for position in range(STEPS):
            await connection.execute(
                """
                INSERT INTO core.run_steps (run_id, position, tenant_id, node, author, attempt, started_at, duration_ms,
                                            tool_calls, state_diff)
                VALUES (%s, %s, %s, %s, 'agent', 1, now(), 1.5, %s, %s)
                """,
                (run_id, position, tenant_id, f"node{position}", Jsonb([]), Jsonb({"draft": {"text": "नमस्ते"}})),
            )
    return run_id


async def test_a_run_shows_what_it_was_and_what_it_began_with(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    caller = await key_of(database, organisation.tenant_id)
    run = await get(api, f"/v1/runs/{run_id}", caller)
    assert (run["id"], run["state"], run["model"], run["tokens_in"]) == (run_id, "succeeded", "offline", 12)
    assert run["prompt_refs"] == {"reply": "reply/answer@1"}
    assert run["finished_at"].endswith("Z")


@pytest.mark.parametrize("limit", [1, 2, STEPS, 200])
async def test_its_steps_come_in_order_page_by_page(
    api: RunningApi, database: Database, organisation: Organisation, limit: int
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    caller = await key_of(database, organisation.tenant_id)
    steps: list[dict[str, Any]] = await pages(api, f"/v1/runs/{run_id}/steps", caller, limit=limit)
    assert [step["node"] for step in steps] == [f"node{position}" for position in range(STEPS)]
    assert steps[0]["state_diff"] == {"draft": {"text": "नमस्ते"}}


async def test_another_tenants_run_is_not_found(
    api: RunningApi, database: Database, sealer: Sealer, stack: Stack, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    stranger = await key_of(database, an_organisation(stack.admin_url, sealer).tenant_id)
    for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/steps", "/v1/runs/run_0", "/v1/runs/run_0/steps"):
        assert (await api.client.get(path, headers=stranger)).status_code == 404


async def test_a_cursor_of_another_listing_is_refused(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    caller = await key_of(database, organisation.tenant_id)
    page = await get(api, f"/v1/runs/{run_id}/steps", caller, limit=1)
    answer = await api.client.get("/v1/conversations", params={"cursor": page["next_cursor"]}, headers=caller)
    assert answer.status_code == 400
