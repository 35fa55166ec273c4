"""Every end-to-end test once more, on a product whose Redis was killed and stays dead: only slower."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from bench.running_stack import RunningStack, running_stack
from tests.eventually import eventually
from tests.stack.test_whatsapp import *  # noqa: F403  # its tests and their fixtures, on the product below
from tests.worker.a_worker import a_free_port, a_redis


@pytest.fixture(scope="module")
def product() -> Iterator[RunningStack]:
    """Its processes were connected to a Redis when that was killed, and nobody else gets its port."""
    port = a_free_port()
    with ExitStack() as left:
        with a_redis(port) as url:
            stack = left.enter_context(running_stack({"REDIS_URL": url}))
        nobody = left.enter_context(socket.socket())
        nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        nobody.bind(("127.0.0.1", port))
        yield stack


async def test_the_product_says_that_its_redis_is_away_and_is_ready_all_the_same(product: RunningStack) -> None:
    async with httpx.AsyncClient(timeout=10) as client:

        async def says_so() -> bool:
            told = (await client.get(f"{product.facts()['base_url']}/readyz")).json()
            return told["ready"] and told["checks"]["redis"]["state"] == "warn"

        await eventually(says_so)
