from typing import Any

import pytest

from core.crypto import Sealer
from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.test_conversations import get, key_of
from tests.builders import Organisation, a_number, a_text, an_organisation, receive, rows
from tests.conftest import Stack


@pytest.fixture
async def path(database: Database, sealer: Sealer, organisation: Organisation) -> str:
    """Where the hold of a conversation is."""
    await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    (conversation,) = await rows(database, organisation.tenant_id, "SELECT id FROM conversations")
    return f"/v1/conversations/{conversation['id']}/legal-hold"


@pytest.fixture
async def writer(database: Database, organisation: Organisation) -> dict[str, str]:
    return await key_of(database, organisation.tenant_id, scopes=("read", "write"))


async def test_a_conversation_is_held_and_released(api: RunningApi, path: str, writer: dict[str, str]) -> None:
    conversation_id = path.split("/")[3]
    assert (await api.client.get(path, headers=writer)).status_code == 404
    answer = await api.client.put(path, json={"reason": " case 7 "}, headers=writer)
    assert (answer.status_code, answer.json()) == (200, {"conversation_id": conversation_id, "reason": "case 7"})
    assert (await get(api, path, writer))["reason"] == "case 7"
    for _ in range(2):
        assert (await api.client.delete(path, headers=writer)).status_code == 204
        assert (await api.client.get(path, headers=writer)).status_code == 404


async def test_holding_and_releasing_need_the_scope_to_write(
    api: RunningApi, database: Database, organisation: Organisation, path: str
) -> None:
    reader = await key_of(database, organisation.tenant_id)
    assert (await api.client.put(path, json={"reason": "case 7"}, headers=reader)).status_code == 403
    assert (await api.client.delete(path, headers=reader)).status_code == 403
    assert (await api.client.get(path, headers=reader)).status_code == 404


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": " \n "}, {"reason": "x" * 501}, {"reason": "a\x00b"}])
async def test_a_hold_without_a_usable_reason_is_refused(
    api: RunningApi, path: str, writer: dict[str, str], body: dict[str, Any]
) -> None:
    answer = await api.client.put(path, json=body, headers=writer)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.reason"
    assert (await api.client.get(path, headers=writer)).status_code == 404


async def test_another_tenants_conversation_is_not_found(
    api: RunningApi, database: Database, sealer: Sealer, stack: Stack, path: str
) -> None:
    stranger = await key_of(database, an_organisation(stack.admin_url, sealer).tenant_id, scopes=("read", "write"))
    for unknown in (path, "/v1/conversations/conv_0/legal-hold"):
        assert (await api.client.get(unknown, headers=stranger)).status_code == 404
        assert (await api.client.put(unknown, json={"reason": "mine"}, headers=stranger)).status_code == 404
        assert (await api.client.delete(unknown, headers=stranger)).status_code == 404
