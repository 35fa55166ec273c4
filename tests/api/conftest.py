"""The API in this process, and a real server in a process of its own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import Parts, build_app
from api.asgi import App
from api.edge import Accept
from core.crypto import Sealer
from db.pools import Database
from inbox.blob_store import LocalBlobs
from tests.api.server import Server, serving
from tests.builders import Organisation, an_organisation
from tests.conftest import Stack

INFLIGHT_BYTES_MAX = 16 * 1024 * 1024


@dataclass(slots=True)
class RunningApi:
    """An API whose lifespan has begun."""

    app: App
    client: httpx.AsyncClient
    blobs: Path
    rings: list[None] = field(default_factory=list)


@asynccontextmanager
async def lifespan_of(app: App) -> AsyncGenerator[None]:
    """Begin and end an application as a server does."""
    given: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, given.get, said.put))  # pyright: ignore[reportArgumentType]
    await given.put({"type": "lifespan.startup"})
    assert (await said.get())["type"] == "lifespan.startup.complete"
    yield
    await given.put({"type": "lifespan.shutdown"})
    assert (await said.get())["type"] == "lifespan.shutdown.complete"
    await task


@asynccontextmanager
async def running(
    database: Database,
    sealer: Sealer,
    blobs: Path,
    *,
    accept: Accept | None = None,
    inflight_bytes_max: int = INFLIGHT_BYTES_MAX,
) -> AsyncGenerator[RunningApi]:
    rings: list[None] = []

    @asynccontextmanager
    async def parts() -> AsyncGenerator[Parts]:
        yield Parts(database, sealer, LocalBlobs(blobs), lambda: rings.append(None), inflight_bytes_max)

    app = build_app(parts, accept=accept)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType]
    async with lifespan_of(app), httpx.AsyncClient(transport=transport, base_url="http://chowk") as client:
        yield RunningApi(app, client, blobs, rings)


@pytest.fixture
async def api(database: Database, sealer: Sealer, tmp_path: Path) -> AsyncIterator[RunningApi]:
    async with running(database, sealer, tmp_path) as started:
        yield started


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


@pytest.fixture(scope="session")
def server(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for every test that only asks it things."""
    assert stack.app_url
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started
