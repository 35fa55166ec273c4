import pytest

from checkpoints.legal_holds import (
    REASON_CHARACTERS_MAX,
    LegalHold,
    hold_conversation,
    legal_hold_of,
    list_legal_holds,
    release_conversation,
)
from core.errors import NotFound, RequestInvalid
from core.ids import ConversationId, TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import tenant_tx
from tests.checkpoints.threads import a_thread
from tests.conftest import Stack


async def test_a_hold_is_set_changed_listed_and_released(database: Database, tenant: TenantId) -> None:
    thread = await a_thread(database, tenant)
    await a_thread(database, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        assert await hold_conversation(connection, thread.id, " case 7 ") == LegalHold(thread.id, "case 7")
        await hold_conversation(connection, thread.id, "case 8")
        assert await list_legal_holds(connection) == [LegalHold(thread.id, "case 8")]
        assert await legal_hold_of(connection, thread.id) == LegalHold(thread.id, "case 8")
        for _ in range(2):
            await release_conversation(connection, thread.id)
            with pytest.raises(NotFound, match="not under legal hold"):
                await legal_hold_of(connection, thread.id)
        assert await list_legal_holds(connection) == []


@pytest.mark.parametrize("reason", ["", " \n", "x" * (REASON_CHARACTERS_MAX + 1)])
async def test_a_hold_needs_a_reason_of_reasonable_length(database: Database, tenant: TenantId, reason: str) -> None:
    thread = await a_thread(database, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        with pytest.raises(RequestInvalid, match="1 to 500 characters"):
            await hold_conversation(connection, thread.id, reason)
        assert await list_legal_holds(connection) == []


async def test_a_conversation_of_another_tenant_is_as_unknown_as_none(
    database: Database, stack: Stack, tenant: TenantId
) -> None:
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    theirs = await a_thread(database, other)
    for conversation_id in (theirs.id, ConversationId("conv_0")):
        async with tenant_tx(database, tenant, commit="test") as connection:
            with pytest.raises(NotFound, match=conversation_id):
                await hold_conversation(connection, conversation_id, "case 7")
            with pytest.raises(NotFound, match=conversation_id):
                await release_conversation(connection, conversation_id)
            with pytest.raises(NotFound, match=conversation_id):
                await legal_hold_of(connection, conversation_id)
