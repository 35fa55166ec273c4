"""The API process: one ASGI callable. `/webhooks/…` goes to the edge, everything else to FastAPI.

Neither LangGraph nor a model's client is imported here: an API process starts in a second and stays small.
"""

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import FastAPI

from api import conversations, dead_letters, health, legal_holds, metrics, run_commands, runs
from api.agent.routes import agent_routes
from api.asgi import App, Receive, Scope, Send
from api.edge import Accept, Edge
from api.endpoints import Endpoints
from api.intake import Intake
from core.crypto import Sealer
from core.log import configure_log
from core.settings import DatabaseSettings, EdgeSettings, SecretSettings, load
from db.pools import Database, open_database
from inbox.accept import open_acceptor
from inbox.blob_store import Blobs
from inbox.blobs import blobs_of_process
from inbox.doorbell import open_doorbell
from rest.api_keys import ApiKeys
from rest.body_limit import BodyLimit
from rest.problems import install_problems

WEBHOOKS_PREFIX = "/webhooks/"
DESCRIPTION = "One place where every channel a customer uses meets the agents that answer."


@dataclass(frozen=True, slots=True)
class Parts:
    """What an API process stands on."""

    database: Database
    sealer: Sealer
    blobs: Blobs
    #: Rings the workers after a commit; returns at once and raises nothing.
    ring: Callable[[], None]
    inflight_bytes_max: int


def create_app() -> App:
    """The application of one API process. Settings are read now, connections opened when the server starts it.

    Raises:
        SettingInvalid: a setting is missing or wrong.
    """
    configure_log("api")
    return build_app(open_parts)


@asynccontextmanager
async def open_parts() -> AsyncGenerator[Parts, None]:
    """The parts that the environment names."""
    _calm_garbage_collector()
    sealer = Sealer(load(SecretSettings).key())
    inflight_bytes_max = load(EdgeSettings).inflight_bytes_max
    doorbell = open_doorbell()
    database = await open_database(load(DatabaseSettings), application="api")
    try:
        yield Parts(database, sealer, blobs_of_process(), doorbell.ring, inflight_bytes_max)
    finally:
        doorbell.close()
        await database.close()


def _calm_garbage_collector() -> None:
    """Leave what is loaded alone and look for cycles rarely: each request makes many objects and no cycle.

    With Python's own thresholds a seventh of the processor time of a webhook goes into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def build_app(parts: Callable[[], AbstractAsyncContextManager[Parts]], *, accept: Accept | None = None) -> App:
    """An application over these parts. `accept` takes the acceptor's place, for measuring what storing costs."""
    edge: Edge | None = None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        nonlocal edge
        async with parts() as opened, open_acceptor(opened.database, opened.sealer, ring=opened.ring) as acceptor:
            app.state.database = opened.database
            app.state.api_keys = ApiKeys(opened.database)
            app.state.ring = opened.ring
            app.state.depth_gauge = metrics.DepthGauge()
            intake = Intake(opened.sealer, opened.blobs, inflight_bytes_max=opened.inflight_bytes_max)
            edge = Edge(Endpoints(opened.database, opened.sealer), intake, accept or acceptor.accept)
            yield

    api = FastAPI(
        title="Chowk", version=version("chowk"), description=DESCRIPTION,
        lifespan=lifespan, docs_url=None, redoc_url=None,
    )  # fmt: skip
    for module in (conversations, legal_holds, runs, run_commands, dead_letters, health, metrics):
        api.include_router(module.router)
    api.include_router(agent_routes())
    api.add_middleware(BodyLimit)
    install_problems(api)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if edge is not None and scope["type"] == "http" and scope["path"].startswith(WEBHOOKS_PREFIX):
            await edge(scope, receive, send)
        else:
            await api(scope, receive, send)

    return app
