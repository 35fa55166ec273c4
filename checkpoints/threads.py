"""Threads: the chain of checkpoints that a run, or a conversation's runs one after the other, stand on."""

from dataclasses import dataclass

from core.errors import NotFound
from core.ids import RunId
from db.pools import Connection

#: Blobs that nothing refers to any more go when the thread is pruned.
FORGET = """
WITH forgotten AS (
  DELETE FROM checkpoints WHERE thread_id = %(thread_id)s AND metadata->>'run_id' = %(run_id)s
  RETURNING checkpoint_ns, checkpoint_id)
DELETE FROM checkpoint_writes w USING forgotten f
WHERE w.thread_id = %(thread_id)s AND w.checkpoint_ns = f.checkpoint_ns AND w.checkpoint_id = f.checkpoint_id
"""

#: The copy belongs to the run that goes on from it, and stands at the beginning of that run's own thread.
COPY = """
WITH source AS (
  SELECT checkpoint_id, checkpoint, metadata FROM checkpoints
  WHERE thread_id = %(from_thread_id)s AND checkpoint_ns = '' AND checkpoint_id = %(checkpoint_id)s
), blobs AS (
  INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
  SELECT %(thread_id)s, '', b.channel, b.version, b.type, b.blob
  FROM source, jsonb_each_text(source.checkpoint->'channel_versions') AS v (channel, version)
    JOIN checkpoint_blobs b ON b.thread_id = %(from_thread_id)s AND b.checkpoint_ns = ''
      AND b.channel = v.channel AND b.version = v.version
  ON CONFLICT DO NOTHING
)
INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, checkpoint, metadata)
SELECT %(thread_id)s, '', checkpoint_id, checkpoint, metadata || jsonb_build_object('run_id', %(run_id)s::text)
FROM source
ON CONFLICT DO NOTHING
"""

PLACE = """
SELECT r.id AS run_id, c.metadata->>'source' = 'input' AS is_start,
       r.state = 'succeeded' AND NOT EXISTS (
         SELECT FROM checkpoints later
         WHERE later.thread_id = c.thread_id AND later.checkpoint_ns = '' AND later.checkpoint_id > c.checkpoint_id
           AND later.metadata->>'run_id' = r.id) AS is_end
FROM checkpoints c JOIN core.runs r ON r.id = c.metadata->>'run_id'
WHERE c.thread_id = %s AND c.checkpoint_ns = '' AND c.checkpoint_id = %s
"""

EDITED = """
SELECT EXISTS (SELECT FROM checkpoints WHERE thread_id = %s AND metadata->>'source' = 'update') AS edited
"""


@dataclass(frozen=True, slots=True)
class CheckpointPlace:
    """Where a checkpoint stands in the run that stored it."""

    run_id: RunId
    #: The input has not been taken up yet.
    is_start: bool
    #: Nothing came after it, and nothing was to come.
    is_end: bool


async def forget_run(connection: Connection, thread_id: str, run_id: RunId) -> None:
    """Delete what one run stored on this thread, so that it begins anew. Needs the tenant's transaction."""
    await connection.execute(FORGET, {"thread_id": thread_id, "run_id": run_id})


async def copy_checkpoint(
    connection: Connection, *, from_thread_id: str, checkpoint_id: str, thread_id: str, run_id: RunId
) -> None:
    """Let a run begin on its own new thread from a checkpoint of another. A second time changes nothing.

    Raises:
        NotFound: the checkpoint stands no longer, nor a copy of it.
    """
    keys = {
        "from_thread_id": from_thread_id,
        "checkpoint_id": checkpoint_id,
        "thread_id": thread_id,
        "run_id": run_id,
    }
    await connection.execute(COPY, keys)
    if await place_of_checkpoint(connection, thread_id, checkpoint_id) is None:
        raise NotFound(f"checkpoint {checkpoint_id} of thread {from_thread_id} is no longer kept: fork from the start")


async def place_of_checkpoint(connection: Connection, thread_id: str, checkpoint_id: str) -> CheckpointPlace | None:
    """Where a checkpoint of this thread stands; None where there is no such checkpoint any more."""
    row = await (await connection.execute(PLACE, (thread_id, checkpoint_id))).fetchone()
    return None if row is None else CheckpointPlace(**row)


async def was_edited(connection: Connection, thread_id: str) -> bool:
    """Whether somebody's edit of the state stands on this thread."""
    row = await (await connection.execute(EDITED, (thread_id,))).fetchone()
    assert row is not None
    return bool(row["edited"])
