"""The scene of the tests that operate runs."""

from collections.abc import AsyncIterator

import pytest

from core.crypto import Sealer
from db.pools import Database
from tests.conftest import Stack
from tests.graphs.operated import Operated, operated
from tests.tools.acting_service import ActingService, acting_service


@pytest.fixture
async def scene(stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[Operated]:
    """An organisation of this test alone."""
    async with operated(stack, database, sealer) as made:
        yield made


@pytest.fixture
async def service() -> AsyncIterator[ActingService]:
    """A service that acts when it is called."""
    async with acting_service() as opened:
        yield opened
