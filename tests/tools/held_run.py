"""A run whose conversation this process holds, without a graph or a worker around it."""

from dataclasses import dataclass, replace
from typing import Any, cast

from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from models.offline.chat import OfflineChatModel
from tools.context import RunContext

RUN = """
INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, lease_until, fence)
VALUES (%(run_id)s, current_user, %(conversation_id)s, 'turn', 'test', %(conversation_id)s, 'running', 'infinity', 1)
"""
LEASE = """
INSERT INTO core.conversation_leases (conversation_id, tenant_id, fence, run_id, lease_until)
VALUES (%(conversation_id)s, current_user, 1, %(run_id)s, 'infinity') ON CONFLICT DO NOTHING
"""
#: As a claim does once the lease is over.
TAKE_OVER = """
UPDATE core.conversation_leases SET fence = fence + 1 WHERE conversation_id = %(conversation_id)s RETURNING fence
"""

RECEIPTS = """
SELECT key, tool, state, response, finished_at FROM core.call_receipts WHERE run_id = %(run_id)s ORDER BY key
"""


@dataclass(frozen=True, slots=True)
class HeldRun:
    """A run, as the process that holds it under `fence` sees it."""

    database: Database
    tenant_id: TenantId
    run_id: RunId
    conversation_id: str
    fence: int

    def context(self, **fields: Any) -> RunContext:
        return RunContext(
            database=self.database, tenant_id=self.tenant_id, run_id=self.run_id, fence=self.fence,
            embedder=cast("Any", None), chat_model=OfflineChatModel(), **fields,
        )  # fmt: skip

    async def taken_over(self) -> "HeldRun":
        """The same run, as the process that took it over sees it."""
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            taken = await (await connection.execute(TAKE_OVER, {"conversation_id": self.conversation_id})).fetchone()
        assert taken is not None
        return replace(self, fence=taken["fence"])

    async def receipts(self) -> list[dict[str, Any]]:
        """The receipts that this run opened."""
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            return await (await connection.execute(RECEIPTS, {"run_id": self.run_id})).fetchall()


async def a_held_run(database: Database, tenant_id: TenantId) -> HeldRun:
    run = HeldRun(database, tenant_id, RunId(new_id("run")), new_id("cnv"), fence=1)
    keys = {"run_id": run.run_id, "conversation_id": run.conversation_id}
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        await connection.execute(RUN, keys)
        await connection.execute(LEASE, keys)
    return run
