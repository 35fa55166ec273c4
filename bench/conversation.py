"""One person's conversation, turn by turn, by the same functions that the processes call; no sockets, no debounce."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from langgraph.runtime import RunControl

from bench.whatsapp_bodies import signed_text
from channels.protocol import Secrets
from channels.registration import add_account
from checkpoints.retention import PRUNE_JOB
from core.ids import AccountId, ConversationId, TenantId, new_id
from core.telemetry import new_trace_id
from db.transactions import tenant_tx
from graphs.run import run_claimed
from graphs.run_claim import claim_runs
from graphs.runtime import RunRuntime
from inbox.accept import Acceptor, open_acceptor
from inbox.explode import explode_due
from inbox.jobs import claim_jobs, run_job
from inbox.split import split_due
from memory.articles import Article
from memory.publishing import publish_articles
from sandbox.demo.content import load_articles
from worker.handlers import job_handlers
from worker.runtime import Runtime

APP_SECRET = "bench"  # noqa: S105  # signs nothing outside this process
CLAIM_LIMIT = 10

TRANSCRIPT = "SELECT author, text FROM messages WHERE conversation_id = %s AND text IS NOT NULL ORDER BY sequence"


@dataclass
class Conversation:
    """Takes turns; what a turn leaves to jobs is done after it, as a worker of the background lane would."""

    runtime: Runtime
    acceptor: Acceptor
    tenant_id: TenantId
    account_id: AccountId
    phone_number_id: str
    sender: str = "919500000001"
    #: How long each prune of the thread took.
    prunes_ms: list[float] = field(default_factory=list[float])

    async def say(self, text: str) -> None:
        """Write a message and have it answered."""
        database, sealer = self.runtime.database, self.runtime.sealer
        body, _ = signed_text(text, sender=self.sender, phone_number_id=self.phone_number_id, app_secret=APP_SECRET)
        await self.acceptor.accept(
            body, source_id=self.account_id, tenant_id=self.tenant_id, channel="whatsapp", verdict="signed",
            trace_id=new_trace_id(),
        )  # fmt: skip
        while await split_due(database, sealer, limit=CLAIM_LIMIT) or await explode_due(
            database, sealer, limit=CLAIM_LIMIT
        ):
            pass
        while claimed := await claim_runs(database, worker="bench", limit=CLAIM_LIMIT):
            for run in claimed:
                if run.tenant_id == self.tenant_id:
                    await run_claimed(self._run_runtime(), run, RunControl())

    async def run_jobs(self) -> None:
        """Do what is due in the background."""
        database = self.runtime.database
        handlers = job_handlers(self.runtime)
        while jobs := await claim_jobs(database, lanes=["background"], limit=CLAIM_LIMIT):
            for job in jobs:
                if job.tenant_id == self.tenant_id:
                    began = time.perf_counter()
                    await run_job(database, handlers, job)
                    if job.kind == PRUNE_JOB:
                        self.prunes_ms.append((time.perf_counter() - began) * 1000)

    async def id(self) -> ConversationId:
        """The one conversation of this tenant; it exists once something was said."""
        async with tenant_tx(self.runtime.database, self.tenant_id, commit="bench") as connection:
            row = await (await connection.execute("SELECT id FROM conversations")).fetchone()
        assert row is not None
        return ConversationId(row["id"])

    async def transcript(self) -> list[tuple[str, str]]:
        """What was said so far: who wrote it, and the text."""
        conversation_id = await self.id()
        async with tenant_tx(self.runtime.database, self.tenant_id, commit="bench") as connection:
            rows = await (await connection.execute(TRANSCRIPT, (conversation_id,))).fetchall()
        return [(row["author"], row["text"]) for row in rows]

    def _run_runtime(self) -> RunRuntime:
        return RunRuntime(
            database=self.runtime.database,
            pins=self.runtime.pins,
            chat_model=self.runtime.chat_model,
            embedder=self.runtime.embedder,
            effects_queued=lambda _tenant, _conversation: None,
        )


@asynccontextmanager
async def open_conversation(
    runtime: Runtime, admin_url: str, tenant_id: TenantId
) -> AsyncGenerator[Conversation, None]:
    """A conversation that is about to begin, with an organisation that knows its demo articles."""
    phone_number_id = str(int(new_id("n")[2:], 36) % 10**15)
    account_id = add_account(
        admin_url, runtime.sealer, tenant_id=tenant_id, channel="whatsapp", external_id=phone_number_id, name="Bench",
        secrets=Secrets(signing=(APP_SECRET.encode(),), access_token="bench"), debounce_ms=0,
    )  # fmt: skip
    await publish_articles(runtime.database, tenant_id, demo_articles(), runtime.embedder)
    async with open_acceptor(runtime.database, runtime.sealer, ring=lambda: None) as acceptor:
        yield Conversation(runtime, acceptor, tenant_id, account_id, phone_number_id)


def demo_articles() -> list[Article]:
    """What the demo organisation knows."""
    return [
        Article(
            id=article.id, title=article.title, language=article.language, tags=article.tags,
            questions=article.questions, body=article.body, updated=article.updated,
        )
        for article in load_articles("asha")
    ]  # fmt: skip
