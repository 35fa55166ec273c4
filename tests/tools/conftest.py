from collections.abc import AsyncIterator

import pytest

from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from tests.conftest import Stack
from tests.tools.acting_service import ActingService, acting_service
from tests.tools.held_run import HeldRun, a_held_run


@pytest.fixture
async def service() -> AsyncIterator[ActingService]:
    async with acting_service() as running:
        yield running


@pytest.fixture(scope="session")
def acting_tenant(stack: Stack) -> TenantId:
    """One tenant for all runs that act: receipts are told apart by their run."""
    return create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="A tenant that acts")


@pytest.fixture
async def run(database: Database, acting_tenant: TenantId) -> HeldRun:
    return await a_held_run(database, acting_tenant)
