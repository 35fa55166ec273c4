from typing import Any

import pytest
from psycopg.types.json import Jsonb

from core.crypto import Sealer
from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from tests.api.conftest import RunningApi
from tests.api.test_conversations import get, key_of, pages
from tests.builders import Organisation, an_organisation, rows
from tests.conftest import Stack

STEPS = 5


async def a_run(
    database: Database, tenant_id: TenantId, *, kind: str = "turn", state: str = "succeeded", due: str = "now"
) -> RunId:
    """A run of five steps."""
    run_id, conversation_id = RunId(new_id("run")), new_id("conv")
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        await connection.execute(
            """
            INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, prompt_refs, model,
                                   tokens_in, cost_usd_micros, due_at, started_at, finished_at)
            VALUES (%s, %s, %s, %s, 'conversation', %s, %s, %s, 'offline', 12, 34, %s, now(), now())
            """,
            (run_id, tenant_id, conversation_id, kind, conversation_id, state, Jsonb({"reply": "reply/answer@1"}), due),
        )
        for position in range(STEPS):
            await connection.execute(
                """
                INSERT INTO core.run_steps (run_id, position, tenant_id, node, author, attempt, started_at, duration_ms,
                                            tool_calls, state_diff, cost_usd_micros, checkpoint_id)
                VALUES (%s, %s, %s, %s, 'agent', 1, now(), 1.5, '[]', %s, 7, %s)
                """,
                (run_id, position, tenant_id, f"node{position}", Jsonb({"draft": {"text": "नमस्ते"}}), f"cp-{position}"),
            )
    return run_id


async def test_a_run_shows_what_it_was_and_what_it_began_with(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    caller = await key_of(database, organisation.tenant_id)
    run = await get(api, f"/v1/runs/{run_id}", caller)
    assert (run["id"], run["state"], run["model"], run["tokens_in"]) == (run_id, "succeeded", "offline", 12)
    assert (run["cost_usd_micros"], run["dry_run"], run["origin"]) == (34, False, None)
    assert (run["interrupts"], run["commands"]) == ([], [])
    assert run["prompt_refs"] == {"reply": "reply/answer@1"}
    assert run["finished_at"].endswith("Z")


async def test_a_run_that_waits_for_ever_is_due_never(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id, state="waiting", due="infinity")
    caller = await key_of(database, organisation.tenant_id)
    assert (await get(api, f"/v1/runs/{run_id}", caller))["due_at"] is None
    (listed,) = (await get(api, "/v1/runs", caller))["items"]
    assert listed["due_at"] is None


async def test_a_question_of_a_graph_that_is_gone_is_shown_without_what_answers_it(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id, state="waiting")
    question = {"id": "0" * 32, "slot": "answer", "asks": "person", "question": {"why": "?"}}
    await rows(
        database, organisation.tenant_id,
        "UPDATE core.runs SET graph = 'gone', interrupts = %s WHERE id = %s RETURNING 1", Jsonb([question]), run_id,
    )  # fmt: skip
    run = await get(api, f"/v1/runs/{run_id}", await key_of(database, organisation.tenant_id))
    assert run["interrupts"] == [question | {"answer_schema": None}]


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_runs_are_listed_the_newest_first_page_by_page(
    api: RunningApi, database: Database, organisation: Organisation, limit: int
) -> None:
    made = [await a_run(database, organisation.tenant_id) for _ in range(4)]
    caller = await key_of(database, organisation.tenant_id)
    found: list[dict[str, Any]] = await pages(api, "/v1/runs", caller, limit=limit)
    assert [run["id"] for run in found] == made[::-1]


async def test_runs_are_found_by_state_kind_and_conversation(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    tenant_id = organisation.tenant_id
    dead = await a_run(database, tenant_id, state="dead")
    failed = await a_run(database, tenant_id, state="failed", kind="replay")
    fine = await a_run(database, tenant_id)
    caller = await key_of(database, tenant_id)

    async def found(**query: Any) -> list[str]:
        return [run["id"] for run in (await get(api, "/v1/runs", caller, **query))["items"]]

    assert await found(state=["dead", "failed"]) == [failed, dead]
    assert await found(state="dead") == [dead]
    assert await found(kind="replay") == [failed]
    assert await found(kind="replay", state="dead") == []
    conversation_id = (await get(api, f"/v1/runs/{fine}", caller))["conversation_id"]
    assert await found(conversation_id=conversation_id) == [fine]
    for query in ({"state": "asleep"}, {"kind": "x y"}, {"limit": 0}):
        assert (await api.client.get("/v1/runs", params=query, headers=caller)).status_code == 422


@pytest.mark.parametrize("limit", [1, 2, STEPS, 200])
async def test_its_steps_come_in_order_page_by_page(
    api: RunningApi, database: Database, organisation: Organisation, limit: int
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    caller = await key_of(database, organisation.tenant_id)
    steps: list[dict[str, Any]] = await pages(api, f"/v1/runs/{run_id}/steps", caller, limit=limit)
    assert [step["node"] for step in steps] == [f"node{position}" for position in range(STEPS)]
    assert steps[0]["state_diff"] == {"draft": {"text": "नमस्ते"}}
    assert [step["checkpoint_id"] for step in steps] == [f"cp-{position}" for position in range(STEPS)]
    assert {step["cost_usd_micros"] for step in steps} == {7}


async def test_steps_of_which_no_checkpoint_is_kept_offer_none_to_fork_from(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    run_id = await a_run(database, organisation.tenant_id)
    await rows(database, organisation.tenant_id, "UPDATE core.runs SET checkpoints_kept = false RETURNING 1")
    caller = await key_of(database, organisation.tenant_id)
    steps = await pages(api, f"/v1/runs/{run_id}/steps", caller)
    assert {step["checkpoint_id"] for step in steps} == {None}
    assert (await get(api, f"/v1/runs/{run_id}", caller))["checkpoints_kept"] is False


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
