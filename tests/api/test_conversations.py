import asyncio
import time
from datetime import datetime
from typing import Any

import pytest

from core.crypto import Sealer
from core.ids import TenantId
from db.pools import Database
from db.transactions import tenant_tx
from rest.api_keys import create_api_key
from tests.api.conftest import RunningApi
from tests.builders import Organisation, a_number, a_text, a_wamid, an_organisation, receive, rows
from tests.conftest import Stack

MESSAGE_FIELDS = {
    "id", "conversation_id", "direction", "author", "kind", "text", "attachments", "provider_message_id", "reply_to",
    "provider_ts", "received_ts", "status", "edited", "deleted", "citations", "run_id",
}  # fmt: skip


async def key_of(database: Database, tenant_id: TenantId, *, scopes: tuple[str, ...] = ("read",)) -> dict[str, str]:
    """The headers of a caller of this tenant."""
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        key = await create_api_key(connection, tenant_id=tenant_id, name="test", scopes=scopes)
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def caller(database: Database, organisation: Organisation) -> dict[str, str]:
    return await key_of(database, organisation.tenant_id)


async def get(api: RunningApi, path: str, caller: dict[str, str], **query: Any) -> dict[str, Any]:
    answer = await api.client.get(path, params=query, headers=caller)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def pages(api: RunningApi, path: str, caller: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """Every item of a listing, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        page = await get(api, path, caller, **query)
        assert len(page["items"]) <= query.get("limit", 50)
        items.extend(page["items"])
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]


async def test_a_message_has_exactly_the_agreed_fields(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    wamid, sender = a_wamid(), a_number()
    await receive(database, sealer, organisation, a_text("Namaste 🙏", sender=sender, wamid=wamid))
    (conversation,) = (await get(api, "/v1/conversations", caller))["items"]
    (message,) = (await get(api, f"/v1/conversations/{conversation['id']}/messages", caller))["items"]
    assert set(message) == MESSAGE_FIELDS
    assert message | {"id": "", "received_ts": ""} == {
        "id": "", "conversation_id": conversation["id"], "direction": "inbound", "author": "contact", "kind": "text",
        "text": "Namaste 🙏", "attachments": [], "provider_message_id": wamid, "reply_to": None,
        "provider_ts": "2026-09-21T14:13:20Z", "received_ts": "", "status": "received", "edited": False,
        "deleted": False, "citations": [], "run_id": None,
    }  # fmt: skip


async def test_a_conversation_says_with_whom_it_is_and_who_answers(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    sender = a_number()
    await receive(database, sealer, organisation, a_text("Hello", sender=sender))
    (conversation,) = (await get(api, "/v1/conversations", caller))["items"]
    assert (conversation["channel"], conversation["status"]) == ("whatsapp", "agent")
    assert conversation["account_id"] == organisation.account_id
    assert conversation["contact"]["name"] == f"Person {sender[-4:]}"
    assert {"kind": "wa_id", "value": sender} in conversation["contact"]["identities"]
    assert await get(api, f"/v1/conversations/{conversation['id']}", caller) == conversation


async def test_times_are_in_utc_whatever_zone_the_database_speaks(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    (row,) = await rows(
        database, organisation.tenant_id, "SELECT last_message_at AT TIME ZONE 'UTC' AS at FROM conversations"
    )
    (conversation,) = (await get(api, "/v1/conversations", caller))["items"]
    assert conversation["last_message_at"].endswith("Z")
    assert datetime.fromisoformat(conversation["last_message_at"]).replace(tzinfo=None) == row["at"]


async def test_pages_hold_every_conversation_once_the_latest_first(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    for _ in range(7):
        await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    items = await pages(api, "/v1/conversations", caller, limit=3)
    assert len({item["id"] for item in items}) == len(items) == 7
    assert [item["last_message_at"] for item in items] == sorted(
        (item["last_message_at"] for item in items), reverse=True
    )


async def test_pages_hold_every_message_once_in_the_order_in_which_they_came(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    sender = a_number()
    messages = [a_text(f"message {number}", sender=sender) for number in range(11)]
    await receive(database, sealer, organisation, *messages)
    (conversation,) = (await get(api, "/v1/conversations", caller))["items"]
    items = await pages(api, f"/v1/conversations/{conversation['id']}/messages", caller, limit=4)
    assert [item["text"] for item in items] == [f"message {number}" for number in range(11)]


async def test_pages_hold_every_message_once_in_the_order_in_which_they_were_said(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    sender, now = a_number(), int(time.time())
    messages = [a_text(f"message {number}", sender=sender, timestamp=now - 60 + number) for number in range(11)]
    for message in reversed(messages):
        await receive(database, sealer, organisation, message)
    (conversation,) = (await get(api, "/v1/conversations", caller))["items"]
    items = await pages(api, f"/v1/conversations/{conversation['id']}/messages", caller, limit=4)
    assert [item["text"] for item in items] == [f"message {number}" for number in range(11)]


async def test_a_conversation_is_found_by_number_name_and_words(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    wanted, other = "919876543210", "914400000001"
    await receive(database, sealer, organisation, a_text("I gave 100% of it, under_scored", sender=wanted))
    await receive(database, sealer, organisation, a_text("Something else", sender=other))
    found = {
        q: [item["contact"]["name"] for item in (await get(api, "/v1/conversations", caller, q=q))["items"]]
        for q in ("919876543210", "+91 98765-43210", "98765 43210", "person 3210", "GAVE", "100%", "r_s", "100_", "%")
    }
    only = ["Person 3210"]
    assert found == {
        "919876543210": only, "+91 98765-43210": only, "98765 43210": only, "person 3210": only, "GAVE": only,
        "100%": only, "r_s": only, "100_": [], "%": only,
    }  # fmt: skip


async def test_filters_narrow_the_list(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    for _ in range(2):
        await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    taken = await rows(
        database, organisation.tenant_id,
        "UPDATE conversations SET owner = 'person' WHERE id = (SELECT min(id) FROM conversations) RETURNING id",
    )  # fmt: skip
    listed = (await get(api, "/v1/conversations", caller, status="person", channel="whatsapp"))["items"]
    assert [item["id"] for item in listed] == [taken[0]["id"]]
    assert (await get(api, "/v1/conversations", caller, channel="messenger"))["items"] == []
    assert (await get(api, "/v1/conversations", caller, status="awaiting_person"))["items"] == []


async def test_another_tenants_conversation_is_as_unknown_as_one_that_never_was(
    api: RunningApi, database: Database, sealer: Sealer, stack: Stack, organisation: Organisation
) -> None:
    await receive(database, sealer, organisation, a_text("Private", sender=a_number()))
    owner = await key_of(database, organisation.tenant_id)
    (conversation,) = (await get(api, "/v1/conversations", owner))["items"]
    stranger = await key_of(database, an_organisation(stack.admin_url, sealer).tenant_id)
    assert (await get(api, "/v1/conversations", stranger))["items"] == []
    for suffix in ("", "/messages"):
        answers = [
            await api.client.get(f"/v1/conversations/{asked}{suffix}", headers=stranger)
            for asked in (conversation["id"], "conv_00000000000000000000000000")
        ]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert {answer.json()["code"] for answer in answers} == {"not_found"}


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthenticated"),
        ({"authorization": "Bearer "}, 401, "unauthenticated"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, 401, "unauthenticated"),
        ({"authorization": "Bearer ak_00000000000000000000000000_" + "0" * 64}, 401, "unauthenticated"),
        ({"x-api-key": "nonsense"}, 401, "unauthenticated"),
        ({"x-api-key": "' OR 1=1 --"}, 401, "unauthenticated"),
    ],
)
async def test_without_a_known_key_nothing_is_shown(
    api: RunningApi, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await api.client.get("/v1/conversations", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_without_the_scope_is_refused(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    caller = await key_of(database, organisation.tenant_id, scopes=("write",))
    answer = await api.client.get("/v1/conversations", headers=caller)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_other_header_means_the_same(api: RunningApi, caller: dict[str, str]) -> None:
    key = caller["authorization"].removeprefix("Bearer ")
    assert await get(api, "/v1/conversations", {"x-api-key": key}) == {"items": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "status", "named"),
    [
        ({"limit": "0"}, 422, "query.limit"),
        ({"limit": "201"}, 422, "query.limit"),
        ({"limit": "many"}, 422, "query.limit"),
        ({"status": "asleep"}, 422, "query.status"),
        ({"q": ""}, 422, "query.q"),
        ({"q": "x" * 201}, 422, "query.q"),
        ({"q": "nul\x00"}, 422, "query.q"),
        ({"channel": "What's App"}, 422, "query.channel"),
        ({"cursor": "x" * 513}, 422, "query.cursor"),
        ({"cursor": "nonsense"}, 400, "cursor"),
        ({"cursor": "ünïcode"}, 400, "cursor"),
        ({"cursor": ""}, 400, "cursor"),
        ({"cursor": "e30"}, 400, "cursor"),
    ],
)
async def test_a_wrong_question_is_answered_with_what_is_wrong(
    api: RunningApi, caller: dict[str, str], query: dict[str, str], status: int, named: str
) -> None:
    answer = await api.client.get("/v1/conversations", params=query, headers=caller)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert named in answer.json()["detail"]


async def test_an_id_that_no_database_could_hold_is_a_wrong_question(api: RunningApi, caller: dict[str, str]) -> None:
    for asked in ("%00", "a%20b", "A" * 65):
        answer = await api.client.get(f"/v1/conversations/{asked}", headers=caller)
        assert answer.status_code == 422


async def test_readers_at_once_do_not_disturb_each_other(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, caller: dict[str, str]
) -> None:
    await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    answers = await asyncio.gather(*(api.client.get("/v1/conversations", headers=caller) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
