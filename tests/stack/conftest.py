"""One whole running Chowk for the tests of this folder, as `make run` brings it up, and one turn to interrupt."""

from collections.abc import Iterator

import pytest

from bench.running_stack import RunningStack, running_stack
from core.crypto import Sealer
from db.pools import Database
from tests.builders import an_organisation
from tests.conftest import Stack
from tests.outbox.provider_server import a_provider
from tests.stack.held_turn import HeldTurn, a_slow_model


@pytest.fixture(scope="session")
def product() -> Iterator[RunningStack]:
    with running_stack() as stack:
        yield stack


@pytest.fixture
def turn(stack: Stack, database: Database, sealer: Sealer) -> Iterator[HeldTurn]:
    """A turn that a worker of the test's own will answer; it needs no whole stack."""
    organisation = an_organisation(stack.admin_url, sealer)
    with a_provider() as provider, a_slow_model() as model:
        yield HeldTurn(database, organisation, model, provider)
