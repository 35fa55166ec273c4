"""One organisation, its customers and its provider, as a journey finds them: in whatever state the last one left them.

A journey does what is left to do, so it can be walked again after it was killed anywhere. Everything that comes from
outside has a fixed name: the same webhook again is the same bytes.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from langgraph.runtime import RunControl

from cli.main import app
from core.crypto import Sealer
from core.http import provider_client
from core.ids import AccountId, TenantId
from core.settings import DatabaseSettings, SecretSettings, load
from core.telemetry import new_trace_id
from db.pools import Database, open_database
from db.transactions import tenant_tx
from graphs.run import run_claimed
from graphs.run_claim import claim_runs, extend_runs
from graphs.run_start import Pins
from graphs.runtime import RunRuntime
from inbox.accept import open_acceptor
from inbox.explode import explode_due
from inbox.jobs import JobHandler, claim_jobs, extend_jobs, run_job
from inbox.split import split_due
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from outbox.begin import Sending
from outbox.deliver import Outbox, send, take_up_due
from prompts.loader import prompt_refs
from tests.api.conftest import running
from tests.builders import a_body, a_change, a_status

#: A customer who asks what the organisation knows, and one who asks what it does not.
ASKS, WONDERS = "919800000001", "919800000002"
TIMESTAMP = 1_790_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a journey takes place: plain JSON, so that it can be told to another process."""

    tenant_id: str
    account_id: str
    phone_number_id: str
    provider_url: str
    slug: str
    admin_url: str
    api_key: str
    #: Of a journey that is one run alone.
    run_id: str


@dataclass(slots=True)
class World:
    """What a journey acts with."""

    place: Place
    database: Database
    sealer: Sealer
    outbox: Outbox
    runtime: RunRuntime
    handlers: Mapping[str, JobHandler] = field(default_factory=dict[str, JobHandler])

    @property
    def tenant_id(self) -> TenantId:
        return TenantId(self.place.tenant_id)

    @property
    def account_id(self) -> AccountId:
        return AccountId(self.place.account_id)

    async def receive(self, *lists: dict[str, Any], field: str = "messages") -> None:
        """Take one webhook in, as the edge does; a list is `messages` or `statuses`."""
        await self.receive_raw(a_body([a_change(self.place.phone_number_id, **{field: [entry]}) for entry in lists]))

    async def receive_raw(self, body: bytes) -> None:
        async with open_acceptor(self.database, self.sealer, ring=lambda: None) as acceptor:
            await acceptor.accept(
                body, source_id=self.account_id, tenant_id=self.tenant_id, channel="whatsapp", verdict="signed",
                trace_id=new_trace_id(),
            )  # fmt: skip

    async def work(self) -> None:
        """Do what a worker does until nothing of this organisation is left to do."""
        steps: tuple[Callable[[], Awaitable[bool]], ...] = (self._take_in, self._advance, self._deliver, self._jobs)
        while any([await step() for step in steps]):
            pass

    async def provider_speaks(self) -> None:
        """The provider tells what became of every message that it has."""
        async with httpx.AsyncClient() as client:
            received = (await client.get(f"{self.place.provider_url}/received")).json()
        for number, body in enumerate(received, start=1):
            if "text" in body:
                correlation = body["biz_opaque_callback_data"]
                status = a_status(f"wamid.{number}", "delivered", recipient=body["to"], correlation=correlation)
                await self.receive(status, field="statuses")

    @asynccontextmanager
    async def api(self) -> AsyncGenerator[httpx.AsyncClient]:
        """The API in this process, asked by somebody who may act."""
        with tempfile.TemporaryDirectory() as blobs:
            async with running(self.database, self.sealer, Path(blobs)) as started:
                started.client.headers["authorization"] = f"Bearer {self.place.api_key}"
                yield started.client

    async def chowk(self, *arguments: str) -> None:
        """Run a command in this process; commands have an event loop of their own, so on another thread."""
        await asyncio.to_thread(app, [*arguments], standalone_mode=False)

    async def window_passes(self) -> None:
        """The provider has had its time to speak of what it was sent."""
        await self.rows("UPDATE core.effects SET due_at = now() - interval '1 s' WHERE state = 'unknown' RETURNING 1")

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def _take_in(self) -> bool:
        return bool(
            await split_due(self.database, self.sealer, limit=64)
            or await explode_due(self.database, self.sealer, limit=64)
        )

    async def _advance(self) -> bool:
        """Advance this organisation's due runs; another's stay leased until their time is over."""
        claimed = await claim_runs(self.database, worker="crash", limit=64)
        mine = [run for run in claimed if run.tenant_id == self.tenant_id]
        if mine:
            await extend_runs(self.database, mine)
        for run in mine:
            await run_claimed(self.runtime, run, RunControl())
        return bool(claimed)

    async def _deliver(self) -> bool:
        begun: list[Sending] = []
        await take_up_due(self.outbox, lanes=("interactive", "background"), limit=64, start=begun.append)
        mine = [sending for sending in begun if sending.tenant_id == self.tenant_id]
        for sending in mine:
            await send(self.outbox, sending)
        return bool(mine)

    async def _jobs(self) -> bool:
        jobs = await claim_jobs(self.database, lanes=("interactive", "background"), limit=64)
        mine = [job for job in jobs if job.tenant_id == self.tenant_id]
        if mine:
            await extend_jobs(self.database, mine)
        for job in mine:
            await run_job(self.database, self.handlers, job)
        return bool(mine)


@asynccontextmanager
async def world_of(place: Place) -> AsyncGenerator[World]:
    """Open what a worker process holds open."""
    database = await open_database(load(DatabaseSettings), application="crash")
    sealer = Sealer(load(SecretSettings).key())
    client = provider_client(place.provider_url)
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    try:
        yield World(place, database, sealer, Outbox(database, sealer, {"whatsapp": client}), runtime)
    finally:
        await client.aclose()
        await database.close()
