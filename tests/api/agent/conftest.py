"""The official client against a real server, beside an organisation whose runs are taken one by one."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from core.crypto import Sealer
from core.ids import TenantId
from db.pools import Database
from tests.api.server import Server
from tests.api.test_conversations import key_of
from tests.builders import an_organisation
from tests.conftest import Stack
from tests.graphs.operated import Operated, operated

REPLY = {"action": "reply", "text": "Forty-two, says our colleague."}
LEAVE = {"action": "leave"}


@dataclass(frozen=True, slots=True)
class Tool:
    """A ready tool that speaks the agent protocol, and the organisation that it looks after."""

    client: LangGraphClient
    scene: Operated
    server: Server
    headers: dict[str, str]

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[None]:
        """A worker is at work meanwhile."""
        done = asyncio.Event()

        async def work() -> None:
            while not done.is_set():
                await self.scene.advance()
                await asyncio.sleep(0.02)

        worker = asyncio.create_task(work())
        try:
            yield
        finally:
            done.set()
            await worker


async def client_of(server: Server, database: Database, tenant_id: TenantId, *scopes: str) -> LangGraphClient:
    headers = await key_of(database, tenant_id, scopes=scopes or ("read", "write"))
    return get_client(url=f"{server.url}/agent", api_key=None, headers=headers)


@pytest.fixture
async def scene(stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[Operated]:
    """An organisation of this test alone."""
    async with operated(stack, database, sealer) as made:
        yield made


@pytest.fixture
async def tool(server: Server, scene: Operated) -> AsyncIterator[Tool]:
    headers = await key_of(scene.database, scene.tenant_id, scopes=("read", "write"))
    async with get_client(url=f"{server.url}/agent", api_key=None, headers=headers) as client:
        yield Tool(client, scene, server, headers)


@pytest.fixture
async def stranger(server: Server, stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[LangGraphClient]:
    """A client of another tenant."""
    tenant_id = an_organisation(stack.admin_url, sealer).tenant_id
    async with await client_of(server, database, tenant_id) as client:
        yield client
