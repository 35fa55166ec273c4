from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from core.crypto import Sealer
from core.ids import new_id
from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.test_conversations import get, key_of, pages
from tests.builders import a_number, an_organisation, rows, the_meta_app
from tests.conftest import Stack
from tests.graphs.letters import Buried, one_of_each, put_away
from tests.inbox.dead import a_dead_body, a_dead_job, an_unrouted_event, the_app_id

LETTERS = "/v1/dead-letters"
FIELDS = {
    "id", "kind", "tenant_id", "what", "cause", "attempts", "conversation_id", "account_id", "trace_id", "created_at",
    "died_at",
}  # fmt: skip


@pytest.fixture
async def buried(database: Database, sealer: Sealer, stack: Stack) -> AsyncIterator[Buried]:
    made = await one_of_each(database, sealer, stack.admin_url)
    yield made
    await put_away(database, made)


@pytest.fixture
async def caller(database: Database, buried: Buried) -> dict[str, str]:
    return await key_of(database, buried.tenant_id, scopes=("read", "write"))


async def post(api: RunningApi, path: str, caller: dict[str, str], body: Any = None) -> httpx.Response:
    return await api.client.post(f"{LETTERS}{path}", headers=caller, json=body)


async def listed(api: RunningApi, caller: dict[str, str]) -> set[str]:
    return {letter["id"] for letter in await pages(api, LETTERS, caller)}


async def test_every_kind_is_listed_with_the_agreed_fields(
    api: RunningApi, buried: Buried, caller: dict[str, str]
) -> None:
    page = await get(api, LETTERS, caller)
    assert {letter["id"] for letter in page["items"]} == buried.ids
    for letter in page["items"]:
        assert set(letter) == FIELDS
        assert letter["id"].startswith(f"{letter['kind']}:")
        assert letter["tenant_id"] == buried.tenant_id
        assert letter["created_at"].endswith("Z")


@pytest.mark.parametrize("limit", [1, 2, 4, 200])
async def test_it_is_read_page_by_page_and_by_kind(
    api: RunningApi, database: Database, buried: Buried, caller: dict[str, str], limit: int
) -> None:
    jobs = {f"job:{await a_dead_job(database, buried.tenant_id)}" for _ in range(3)} | {buried.job}
    everything = await pages(api, LETTERS, caller, limit=limit)
    assert sorted(letter["id"] for letter in everything) == sorted(buried.ids | jobs)
    of_kind = await pages(api, LETTERS, caller, kind="job", limit=limit)
    assert sorted(letter["id"] for letter in of_kind) == sorted(jobs)


async def test_each_is_shown_with_what_its_kind_knows_and_nothing_that_is_sealed(
    api: RunningApi, buried: Buried, caller: dict[str, str]
) -> None:
    shown = {one: await get(api, f"{LETTERS}/{one}", caller) for one in buried.ids}
    effect = shown[buried.effect]["detail"]
    assert (effect["message"]["text"], effect["delivery"], effect["may_have_left"]) == ("Namaste", "at_most_once", True)
    assert effect["conversation_owner"] == "agent"
    assert shown[buried.event]["detail"]["event_kind"] == "message_received"
    assert shown[buried.event]["detail"]["erased"] is False
    assert shown[buried.body]["detail"]["body_bytes"] > 0
    assert shown[buried.job]["detail"]["payload"] == {"message_id": "msg_1"}
    assert shown[buried.run]["detail"]["graph"] == "conversation"
    assert "sealed" not in str(shown)


async def test_one_is_retried_and_a_second_time_is_a_conflict_that_names_its_state(
    api: RunningApi, database: Database, buried: Buried, caller: dict[str, str]
) -> None:
    answer = await post(api, f"/{buried.job}/retry", caller)
    assert (answer.status_code, answer.json()) == (200, {"id": buried.job, "outcome": "done", "reason": None})
    again = await post(api, f"/{buried.job}/retry", caller)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "'queued'" in again.json()["detail"]
    assert await rows(database, buried.tenant_id, "SELECT state FROM core.jobs") == [{"state": "queued"}]
    assert (await api.client.get(f"{LETTERS}/{buried.job}", headers=caller)).status_code == 404


@pytest.mark.parametrize("body", [None, {}, {"reason": "of no use"}])
async def test_one_is_let_go_with_or_without_a_reason(
    api: RunningApi, database: Database, buried: Buried, caller: dict[str, str], body: Any
) -> None:
    answer = await post(api, f"/{buried.job}/discard", caller, body)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "done")
    [job] = await rows(database, buried.tenant_id, "SELECT state, error FROM core.jobs")
    key_id = caller["authorization"].removeprefix("Bearer ").rpartition("_")[0]
    assert job["state"] == "discarded"
    assert f"discarded by {key_id}" in job["error"]
    assert job["error"].endswith(": of no use") == (body == {"reason": "of no use"})


async def test_an_effect_is_marked_as_sent_and_nothing_else_is(
    api: RunningApi, buried: Buried, caller: dict[str, str]
) -> None:
    assert (await post(api, f"/{buried.job}/sent", caller)).status_code == 400
    assert (await post(api, f"/{buried.effect}/sent", caller)).status_code == 200
    again = await post(api, f"/{buried.effect}/sent", caller)
    assert (again.status_code, "'sent'" in again.json()["detail"]) == (409, True)


async def test_of_those_that_are_named_each_is_answered_for(
    api: RunningApi, buried: Buried, caller: dict[str, str]
) -> None:
    asked = [buried.event, "run:run_0", buried.job, buried.event]
    answer = await post(api, "/retry", caller, {"ids": asked})
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [(item["id"], item["outcome"]) for item in items] == [
        (buried.event, "done"), ("run:run_0", "refused"), (buried.job, "done"),
    ]  # fmt: skip
    assert "run_0" in items[1]["reason"]
    assert await listed(api, caller) == buried.ids - {buried.event, buried.job}


async def test_all_of_a_kind_up_to_a_limit_are_let_go(
    api: RunningApi, database: Database, buried: Buried, caller: dict[str, str]
) -> None:
    later = [f"job:{await a_dead_job(database, buried.tenant_id)}" for _ in range(2)]
    answer = await post(api, "/discard", caller, {"kind": "job", "limit": 2, "reason": "old"})
    assert [item["id"] for item in answer.json()["items"]] == later[::-1]
    assert await listed(api, caller) == buried.ids


@pytest.mark.parametrize("body", [{"ids": []}, {"kind": "body"}])
async def test_a_bulk_act_on_nothing_does_nothing(
    api: RunningApi, database: Database, stack: Stack, sealer: Sealer, body: Any
) -> None:
    quiet = await key_of(database, an_organisation(stack.admin_url, sealer).tenant_id, scopes=("write",))
    for act in ("retry", "discard"):
        answer = await post(api, f"/{act}", quiet, body)
        assert (answer.status_code, answer.json()) == (200, {"items": []})


@pytest.mark.parametrize(
    "body",
    [
        None, {}, [], {"ids": ["event:1"], "kind": "event"}, {"ids": ["event:x"]}, {"ids": "event:1"},
        {"ids": ["job:job_0"] * 201}, {"kind": "letter"}, {"kind": "job", "limit": 0}, {"kind": "job", "limit": 1001},
        {"ids": ["event:1"], "and": 1}, {"kind": "job", "reason": "a\x00b"}, {"kind": "job", "reason": "x" * 501},
    ],
)  # fmt: skip
async def test_a_bulk_act_that_is_malformed_is_refused_whole(
    api: RunningApi, buried: Buried, caller: dict[str, str], body: Any
) -> None:
    answer = await post(api, "/discard", caller, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert await listed(api, caller) == buried.ids


@pytest.mark.parametrize("letter", ["event:x", "event:", "letter:1", "event:01", "job:%27", "event:" + "9" * 19])
async def test_a_malformed_id_is_refused(api: RunningApi, buried: Buried, caller: dict[str, str], letter: str) -> None:
    assert (await api.client.get(f"{LETTERS}/{letter}", headers=caller)).status_code == 422
    for act in ("retry", "discard", "sent"):
        assert (await post(api, f"/{letter}/{act}", caller)).status_code == 422
    assert await listed(api, caller) == buried.ids


async def test_another_tenants_dead_letters_are_not_found_and_unchanged(
    api: RunningApi, database: Database, sealer: Sealer, stack: Stack, buried: Buried, caller: dict[str, str]
) -> None:
    other = await one_of_each(database, sealer, stack.admin_url)
    stranger = await key_of(database, other.tenant_id, scopes=("read", "write"))
    for one in [*buried.ids, "event:1000000000000", "effect:eff_0"]:
        assert (await api.client.get(f"{LETTERS}/{one}", headers=stranger)).status_code == 404
        for act in ("retry", "discard"):
            answer = await post(api, f"/{one}/{act}", stranger)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await post(api, f"/{buried.effect}/sent", stranger)).status_code == 404
    bulk = await post(api, "/discard", stranger, {"ids": sorted(buried.ids)})
    assert {item["outcome"] for item in bulk.json()["items"]} == {"refused"}
    assert await listed(api, caller) == buried.ids
    for kind in ("body", "event", "job", "effect", "run"):
        await post(api, "/discard", stranger, {"kind": kind})
    assert await listed(api, stranger) == set()
    assert await listed(api, caller) == buried.ids


async def test_what_belongs_to_nobody_is_seen_by_no_tenant(
    api: RunningApi, database: Database, sealer: Sealer, stack: Stack, buried: Buried, caller: dict[str, str]
) -> None:
    the_meta_app(stack.admin_url, sealer)
    app_id = await the_app_id(database, an_organisation(stack.admin_url, sealer, app="meta"))
    event = await an_unrouted_event(database, sealer, app_id, a_number())
    body = await a_dead_body(database, sealer, new_id("app"), None, channel="meta")
    assert await listed(api, caller) == buried.ids
    for one in (f"event:{event}", f"body:{body}"):
        assert (await api.client.get(f"{LETTERS}/{one}", headers=caller)).status_code == 404
        for act in ("retry", "discard"):
            assert (await post(api, f"/{one}/{act}", caller)).status_code == 404


async def test_a_key_that_may_only_read_acts_on_nothing(api: RunningApi, database: Database, buried: Buried) -> None:
    reader = await key_of(database, buried.tenant_id, scopes=("read",))
    paths = [f"/{buried.job}/{act}" for act in ("retry", "discard", "sent")] + ["/retry", "/discard"]
    for path in paths:
        answer = await post(api, path, reader, {"ids": [buried.job]} if path.count("/") == 1 else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "'write'" in answer.json()["detail"]
    assert await listed(api, reader) == buried.ids
    writer = await key_of(database, buried.tenant_id, scopes=("write",))
    assert (await api.client.get(LETTERS, headers=writer)).status_code == 403


async def test_a_cursor_of_another_listing_is_refused(api: RunningApi, buried: Buried, caller: dict[str, str]) -> None:
    page = await get(api, "/v1/dead-letters", caller, limit=1)
    assert buried.ids
    answer = await api.client.get("/v1/conversations", params={"cursor": page["next_cursor"]}, headers=caller)
    assert answer.status_code == 400
