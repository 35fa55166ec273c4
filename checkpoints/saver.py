"""Checkpointers of one tenant: the library's own to read with, and that of a run at work.

A new saver per run: the library takes one lock per saver around every statement, so a shared one would make all runs
of a process wait for each other (four times slower at 2 ms to the server). A saver costs microseconds.

A turn writes about twenty times. The library hands the serialisation of each write, which takes microseconds, to a
thread, and sends every row as a statement of its own in a pipeline; that was a third of a turn's CPU. `RunSaver` sends
one statement each. What is stored is the same, row for row: the library reads it, and its conformance suite and a
comparison with it are tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde import _msgpack  # pyright: ignore[reportPrivateUsage]  # the only place that tells
from psycopg.types.json import Jsonb
from typing_extensions import override

from core.errors import FenceLost, SettingInvalid
from core.ids import RunId, TenantId
from db.checkpoint_pool import TenantCheckpointPool
from db.faults import fault
from db.pools import Database

#: One row of `core.run_steps` as JSON, without what the saver adds.
StepRow: TypeAlias = dict[str, Any]  # Any: JSON

#: The library's two statements, the record of the steps that led to the checkpoint, and the question whether the run
#: is still ours, in one: all of it is stored or nothing.
PUT = """
WITH held AS (
  SELECT FROM core.conversation_leases WHERE conversation_id = %(lease_id)s AND fence = %(fence)s
), blobs AS (
  INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT %(thread_id)s, %(checkpoint_ns)s, * FROM unnest(
    %(channels)b::text[], %(versions)b::text[], %(types)b::text[], %(blobs)b::bytea[])
  WHERE EXISTS (SELECT FROM held)
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
), steps AS (
  INSERT INTO core.run_steps (run_id, tenant_id, checkpoint_id, position, node, namespace, author, attempt, started_at,
    duration_ms, tokens_in, tokens_out, cost_usd_micros, prompt_ref, tool_calls, memory_hits, state_diff, error)
  SELECT %(run_id)s, current_user, CASE WHEN step.namespace = '' THEN %(checkpoint_id)s END, step.*
  FROM jsonb_to_recordset(%(steps)s) AS step (
    position integer, node text, namespace text, author text, attempt smallint, started_at timestamptz,
    duration_ms double precision, tokens_in integer, tokens_out integer, cost_usd_micros bigint, prompt_ref text,
    tool_calls jsonb, memory_hits jsonb, state_diff jsonb, error text)
  WHERE EXISTS (SELECT FROM held)
  ON CONFLICT (run_id, position) DO NOTHING
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s, %(parent_id)s, %(checkpoint)s, %(metadata)s FROM held
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata
"""

INSERT_WRITES = """
INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT stored.* FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::int[], %b::text[],
                            %b::text[], %b::bytea[]) AS stored
WHERE EXISTS (SELECT FROM core.conversation_leases WHERE conversation_id = %s AND fence = %s)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
"""

#: What an interrupted or failed task says of itself may be said again.
UPSERT_WRITES = INSERT_WRITES.replace(
    "DO NOTHING", "DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob"
)

WRITE_COLUMNS = 9

#: What the library keeps inside the checkpoint's own JSON.
_PLAIN = (str, int, float, bool)


@dataclass(frozen=True, slots=True)
class Hold:
    """By what right a run writes: it ends when another process claims the same lease under a higher fence."""

    run_id: RunId
    lease_id: str
    fence: int


@dataclass(slots=True)
class Journal:
    """Steps that were taken and are not recorded yet, oldest first."""

    steps: list[StepRow] = field(default_factory=list[StepRow])


class TenantSaver(AsyncPostgresSaver):
    """Reads one tenant's checkpoints. Made inside the event loop that uses it."""

    def __init__(self, pool: TenantCheckpointPool) -> None:
        super().__init__(pool)
        self._pool = pool


class RunSaver(TenantSaver):
    """Writes the checkpoints of one run while the run is held, and with each the steps in the journal."""

    def __init__(self, pool: TenantCheckpointPool, hold: Hold, journal: Journal) -> None:
        super().__init__(pool)
        self._hold = hold
        self._journal = journal

    @override
    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; gives the configuration that names it. Plain values stand in it, others in blobs.

        Raises:
            FenceLost: another process has taken the run over; nothing was stored.
        """
        configurable = config.get("configurable", {})
        thread_id, namespace = configurable["thread_id"], configurable["checkpoint_ns"]
        values = checkpoint["channel_values"]
        inline = {name: value for name, value in values.items() if value is None or isinstance(value, _PLAIN)}
        blobs = {name: value for name, value in values.items() if name not in inline}
        versions = {name: version for name, version in new_versions.items() if name in blobs}
        rows = self._dump_blobs(thread_id, namespace, blobs, versions)
        recorded = len(self._journal.steps)
        keys = {
            "lease_id": self._hold.lease_id,
            "fence": self._hold.fence,
            "run_id": self._hold.run_id,
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint["id"],
            "parent_id": configurable.get("checkpoint_id"),
            "checkpoint": Jsonb({**checkpoint, "channel_values": inline}),
            "metadata": Jsonb(get_serializable_checkpoint_metadata(config, metadata)),
            "channels": [row[2] for row in rows],
            "versions": [row[3] for row in rows],
            "types": [row[4] for row in rows],
            "blobs": [row[5] for row in rows],
            "steps": Jsonb(self._journal.steps),
        }
        await self._put(keys)
        del self._journal.steps[:recorded]
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint["id"]}}

    async def _put(self, keys: dict[str, Any]) -> None:  # Any: the values of one statement
        async with self._pool.connection() as connection:
            fault("checkpoint.before_commit")
            stored = await connection.execute(PUT, keys)
            fault("checkpoint.after_commit")
        if stored.rowcount != 1:
            raise FenceLost(f"run {self._hold.run_id} is no longer held under fence {self._hold.fence}")

    @override
    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote before the checkpoint that will hold it. Any: the library's own type of a write.

        Once the run is another's nothing is stored; the next checkpoint says so.
        """
        configurable = config.get("configurable", {})
        rows = self._dump_writes(
            configurable["thread_id"], configurable["checkpoint_ns"], configurable["checkpoint_id"],
            task_id, task_path, writes,
        )  # fmt: skip
        again = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        keys = [*_columns(rows, WRITE_COLUMNS), self._hold.lease_id, self._hold.fence]
        async with self._pool.connection() as connection:
            fault("checkpoint_writes.before_commit")
            await connection.execute(UPSERT_WRITES if again else INSERT_WRITES, keys)
            fault("checkpoint_writes.after_commit")


def tenant_saver(database: Database, tenant_id: TenantId) -> TenantSaver:
    """A saver that reads this tenant's checkpoints. Made inside the event loop that uses it."""
    return TenantSaver(TenantCheckpointPool(database.checkpoints, tenant_id))


def run_saver(database: Database, tenant_id: TenantId, hold: Hold, journal: Journal) -> RunSaver:
    """A saver that writes this run's checkpoints. Made inside the event loop that uses it."""
    return RunSaver(TenantCheckpointPool(database.checkpoints, tenant_id), hold, journal)


def refuse_permissive_serialisation() -> None:
    """Raise unless checkpoints are read strictly: otherwise a row could make the process import and build any class.

    Raises:
        SettingInvalid: LangGraph was imported before `core`, or the variable was changed.
    """
    if not _msgpack.STRICT_MSGPACK_ENABLED:
        raise SettingInvalid("LANGGRAPH_STRICT_MSGPACK is not in force; import `core` before langgraph")


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:  # Any: a row of mixed types
    """The rows as columns; empty ones where there is no row."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
