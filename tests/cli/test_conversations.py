import asyncio
import json

from cli.main import app
from core.ids import ConversationId
from core.settings import DatabaseSettings, load
from db.pools import open_database
from db.provision import tenant_by_slug
from tests.checkpoints.threads import a_thread
from tests.cli.test_main import refused, runner, slug
from tests.conftest import Stack

__all__ = ["slug"]


def chowk(*arguments: str) -> str:
    """What a command prints, without its log; it must succeed."""
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def a_conversation(stack: Stack, slug: str) -> ConversationId:
    """A conversation of this tenant, made over connections of its own."""

    async def make() -> ConversationId:
        database = await open_database(load(DatabaseSettings), application="tests")
        try:
            tenant_id = tenant_by_slug(stack.admin_url, slug)
            assert tenant_id is not None
            return (await a_thread(database, tenant_id)).id
        finally:
            await database.close()

    return asyncio.run(make())


def test_a_conversation_is_held_listed_and_released(stack: Stack, slug: str) -> None:
    conversation_id = a_conversation(stack, slug)
    assert "case 7" in chowk("conversation", "hold", conversation_id, "--tenant", slug, "--reason", "case 7")
    held = {"id": conversation_id, "reason": "case 8"}
    shown = chowk("conversation", "hold", conversation_id, "--tenant", slug, "--reason", "case 8", "--json")
    assert json.loads(shown) == held
    assert json.loads(chowk("conversation", "holds", "--tenant", slug, "--json")) == [held]
    assert conversation_id in chowk("conversation", "holds", "--tenant", slug)
    assert "not held" in chowk("conversation", "release", conversation_id, "--tenant", slug)
    assert json.loads(chowk("conversation", "holds", "--tenant", slug, "--json")) == []


def test_what_cannot_be_held_is_refused_in_one_line(slug: str) -> None:
    assert "conv_0" in refused("conversation", "hold", "conv_0", "--tenant", slug, "--reason", "case 7")
    assert "conv_0" in refused("conversation", "release", "conv_0", "--tenant", slug)
    assert "reason" in refused("conversation", "hold", "conv_0", "--tenant", slug, "--reason", " ")
    assert "no-such-tenant" in refused("conversation", "holds", "--tenant", "no-such-tenant")
