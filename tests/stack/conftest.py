"""One whole running Chowk for the tests of this folder, as `make run` brings it up."""

from collections.abc import Iterator

import pytest

from bench.running_stack import RunningStack, running_stack


@pytest.fixture(scope="session")
def product() -> Iterator[RunningStack]:
    with running_stack() as stack:
        yield stack
