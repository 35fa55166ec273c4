"""The checkpointer of one run: the library's own, with its two writes in one statement each.

A new saver per run: the library takes one lock per saver around every statement, so a shared one would make all runs
of a process wait for each other (four times slower at 2 ms to the server). A saver costs microseconds.

A turn writes about twenty times. The library hands the serialisation of each write, which takes microseconds, to a
thread, and sends every row as a statement of its own in a pipeline; that was a third of a turn's CPU. What is stored
is the same, row for row: the library reads it, and its conformance suite and a comparison with it are tests.
"""

from collections.abc import Sequence
from typing import Any

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

from core.errors import SettingInvalid
from core.ids import TenantId
from db.checkpoint_pool import TenantCheckpointPool
from db.pools import Database

#: The same rows as the library's two statements write; both in one, so that a checkpoint and its blobs are one commit.
PUT = """
WITH blobs AS (
  INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[])
  ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata
"""

INSERT_WRITES = """
INSERT INTO checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::int[], %b::text[], %b::text[],
                     %b::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING
"""

#: What an interrupted or failed task says of itself may be said again.
UPSERT_WRITES = INSERT_WRITES.replace(
    "DO NOTHING", "DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob"
)

#: Columns of a blob row, and of a write row.
BLOB_COLUMNS, WRITE_COLUMNS = 6, 9


class TenantSaver(AsyncPostgresSaver):
    """Reads and writes one tenant's checkpoints. Made inside the event loop that uses it."""

    def __init__(self, pool: TenantCheckpointPool) -> None:
        super().__init__(pool)
        self._pool = pool

    @override
    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint; gives the configuration that names it. Plain values stand in it, others in blobs."""
        configurable = config.get("configurable", {})
        thread_id, namespace = configurable["thread_id"], configurable["checkpoint_ns"]
        values = checkpoint["channel_values"]
        inline = {name: value for name, value in values.items() if value is None or isinstance(value, _PLAIN)}
        blobs = {name: value for name, value in values.items() if name not in inline}
        versions = {name: version for name, version in new_versions.items() if name in blobs}
        columns = _columns(self._dump_blobs(thread_id, namespace, blobs, versions), BLOB_COLUMNS)
        row = (
            thread_id,
            namespace,
            checkpoint["id"],
            configurable.get("checkpoint_id"),
            Jsonb({**checkpoint, "channel_values": inline}),
            Jsonb(get_serializable_checkpoint_metadata(config, metadata)),
        )
        async with self._pool.connection() as connection:
            await connection.execute(PUT, (*columns, *row))
        return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint["id"]}}

    @override
    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote before the checkpoint that will hold it. Any: the library's own type of a write."""
        configurable = config.get("configurable", {})
        rows = self._dump_writes(
            configurable["thread_id"], configurable["checkpoint_ns"], configurable["checkpoint_id"],
            task_id, task_path, writes,
        )  # fmt: skip
        again = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        async with self._pool.connection() as connection:
            await connection.execute(UPSERT_WRITES if again else INSERT_WRITES, _columns(rows, WRITE_COLUMNS))


#: What the library keeps inside the checkpoint's own JSON.
_PLAIN = (str, int, float, bool)


def tenant_saver(database: Database, tenant_id: TenantId) -> TenantSaver:
    """A saver that reads and writes this tenant's checkpoints. Made inside the event loop that uses it."""
    return TenantSaver(TenantCheckpointPool(database.checkpoints, tenant_id))


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
