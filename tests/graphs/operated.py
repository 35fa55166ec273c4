"""An organisation whose agent answers, with its runs taken one by one."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from langgraph.runtime import RunControl

from checkpoints.operations import steps_of
from core.crypto import Sealer
from core.ids import RunId, TenantId
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx
from graphs.comparison import Comparison, compare
from graphs.fork_commands import fork, replay
from graphs.run import run_claimed
from graphs.run_claim import ClaimedRun, claim_runs
from graphs.run_start import Pins
from graphs.runtime import RunRuntime
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from prompts.loader import prompt_refs
from tests.builders import Organisation, a_number, a_text, an_organisation, receive, rows
from tests.conftest import Stack

TIMINGS = Article(
    id="timings", title="When our offices are open", language="en", tags=("office",),
    questions=("What are your office hours?", "office timings", "when are you open", "opening time"),
    body="Our offices are open from 10:00 to 18:00, Monday to Saturday. On public holidays they are closed.",
    updated=None,
)  # fmt: skip
RECEIPTS = Article(
    id="tax-receipt", title="Tax receipts for donations (80G)", language="en", tags=("tax",),
    questions=("Can I get a tax receipt for my donation?", "80G receipt", "how do I get my receipt", "tax benefit"),
    body="Yes. Every donation of 100 rupees or more gets an 80G tax receipt by e-mail within two working days.",
    updated=None,
)  # fmt: skip

#: Who asks.
BY = "ak_of_an_operator"


@dataclass(frozen=True, slots=True)
class Operated:
    """One organisation, and the process that advances its runs."""

    runtime: RunRuntime
    organisation: Organisation
    sealer: Sealer
    #: Those that came with another.
    claimed: list[ClaimedRun] = field(default_factory=list[ClaimedRun])

    @property
    def database(self) -> Database:
        return self.runtime.database

    @property
    def tenant_id(self) -> TenantId:
        return self.organisation.tenant_id

    async def hear(self, text: str, *, sender: str | None = None) -> str:
        """A person writes; gives their number."""
        sender = sender or a_number()
        await receive(self.database, self.sealer, self.organisation, a_text(text, sender=sender))
        return sender

    async def claim(self) -> ClaimedRun | None:
        """A due run of this tenant; those that other tests left are passed over."""
        while not self.claimed and (found := await claim_runs(self.database, worker="test", limit=10)):
            self.claimed.extend(run for run in found if run.tenant_id == self.tenant_id)
        return self.claimed.pop(0) if self.claimed else None

    async def advance(self, control: RunControl | None = None) -> list[ClaimedRun]:
        """Take every due run as far as it goes."""
        done: list[ClaimedRun] = []
        while run := await self.claim():
            await run_claimed(self.runtime, run, control or RunControl())
            done.append(run)
        return done

    async def answered(self, text: str) -> ClaimedRun:
        """A person writes and is answered; gives the turn."""
        await self.hear(text)
        (turn,) = await self.advance()
        return turn

    async def handed_off(self) -> tuple[ClaimedRun, ClaimedRun]:
        """A person asks what nobody wrote about; gives the turn and the run that waits for an answer."""
        await self.hear("What is the meaning of life?")
        turn, waiting = await self.advance()
        assert (await self.run(waiting.run_id))["state"] == "waiting"
        return turn, waiting

    async def run(self, run_id: str) -> dict[str, Any]:
        """A run's row, as JSON."""
        (found,) = await self.rows("SELECT to_jsonb(r) AS row FROM core.runs r WHERE id = %s", run_id)
        return found["row"]

    @asynccontextmanager
    async def asking(self) -> AsyncGenerator[Connection]:
        """A transaction in which something is asked of a run."""
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            yield connection

    async def fork(self, run_id: str, **options: Any) -> RunId:
        async with self.asking() as connection:
            return await fork(connection, RunId(run_id), by=BY, **options)

    async def replay(self, run_id: str, **options: Any) -> RunId:
        async with self.asking() as connection:
            return await replay(connection, RunId(run_id), by=BY, **options)

    async def checkpoint_after(self, run_id: str, node: str) -> str:
        """The checkpoint that holds the state after this node."""
        (step,) = await self.rows(
            "SELECT checkpoint_id FROM core.run_steps WHERE run_id = %s AND node = %s AND namespace = ''", run_id, node
        )
        return step["checkpoint_id"]

    async def nodes(self, run_id: str) -> list[str]:
        """The steps of a run, without those inside an agent."""
        steps = await self.rows(
            "SELECT node FROM core.run_steps WHERE run_id = %s AND namespace = '' ORDER BY position", run_id
        )
        return [step["node"] for step in steps]

    async def compared(self, recorded: str, repeated: str) -> Comparison:
        """A run beside its fork or replay."""
        origins = [(await self.run(run_id))["origin"] for run_id in (recorded, repeated)]
        async with self.asking() as connection:
            here, there = await steps_of(connection, recorded), await steps_of(connection, repeated)
        return compare(here, there, recorded_origin=origins[0], repeated_origin=origins[1])

    async def sent(self) -> list[dict[str, Any]]:
        """What the contact reads of ours, oldest first."""
        return await self.rows(
            "SELECT text, author, status, run_id FROM messages WHERE direction = 'outbound' ORDER BY sequence"
        )

    async def owner(self) -> str:
        """Whose the one conversation is."""
        (conversation,) = await self.rows("SELECT owner FROM conversations")
        return conversation["owner"]

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a query of this tenant gives."""
        return await rows(self.database, self.tenant_id, query, *values)

    async def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every row that a command might change."""
        shared = ("runs", "run_steps", "run_commands", "effects", "conversation_leases", "call_receipts")
        mine = {table: f"SELECT to_jsonb(t) AS row FROM core.{table} t" for table in shared}
        own = {table: f"SELECT to_jsonb(t) AS row FROM {table} t" for table in ("messages", "conversations")}
        kept = {"checkpoints": "SELECT jsonb_build_array(thread_id, checkpoint_id, metadata) AS row FROM checkpoints"}
        every = mine | own | kept
        return {table: await self.rows(f"{query} ORDER BY 1") for table, query in every.items()}

    async def let_leases_end(self) -> None:
        """As if the process that holds the runs had been dead for a while."""
        async with queue_tx(self.database, commit="test") as connection:
            for table in ("core.conversation_leases", "core.runs"):
                statement = f"UPDATE {table} SET lease_until = clock_timestamp() - interval '1 s' WHERE tenant_id = %s"
                await connection.execute(statement.encode(), (self.tenant_id,))


@asynccontextmanager
async def operated(stack: Stack, database: Database, sealer: Sealer) -> AsyncGenerator[Operated]:
    """An organisation of this test alone; none of its runs is left to do."""
    organisation = an_organisation(stack.admin_url, sealer)
    await publish_articles(database, organisation.tenant_id, [TIMINGS, RECEIPTS], local_embedder())
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    yield Operated(runtime, organisation, sealer)
    await rows(database, organisation.tenant_id, "UPDATE core.runs SET state = 'cancelled' RETURNING 1")
