"""Threads, as the runs on them tell: a conversation's turns share one, every other run has its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from psycopg.rows import DictRow

from api.agent.shapes import ThreadStatus
from checkpoints.threads import place_of_checkpoint
from core.errors import NotFound
from core.ids import RunId
from db.pools import Connection

#: `first` is the oldest run of its thread and stands for it, `last` the newest, by which a thread is judged.
THREAD = """
SELECT first.thread_id, first.created_at, standing.updated_at, last.id AS run_id, last.conversation_id, last.kind,
       last.graph, last.state, last.interrupts,
       CASE WHEN standing.busy THEN 'busy' WHEN standing.waits THEN 'interrupted'
            WHEN last.state IN ('failed', 'dead') THEN 'error' ELSE 'idle' END AS status,
       ARRAY(SELECT interrupt_id FROM core.run_commands c
             WHERE c.run_id = last.id AND c.interrupt_id IS NOT NULL) AS answered
FROM core.runs first
CROSS JOIN LATERAL (
  SELECT bool_or(r.state IN ('queued', 'running')) AS busy, bool_or(r.state = 'waiting') AS waits,
         max(greatest(r.created_at, r.started_at, r.finished_at)) AS updated_at
  FROM core.runs r WHERE r.thread_id = first.thread_id) AS standing
CROSS JOIN LATERAL (
  SELECT r.* FROM core.runs r WHERE r.thread_id = first.thread_id
  ORDER BY r.created_at DESC, r.id DESC LIMIT 1) AS last
WHERE first.tenant_id = current_user AND NOT EXISTS (
  SELECT FROM core.runs e
  WHERE e.thread_id = first.thread_id AND (e.created_at, e.id) < (first.created_at, first.id))
"""

ONE = THREAD + "AND first.thread_id = %s"

#: Few threads are busy, wait or have failed, and each of these conditions has an index.
NARROWED: Mapping[str, str] = MappingProxyType(
    {
        status: f"first.thread_id IN (SELECT thread_id FROM core.runs WHERE tenant_id = current_user AND {runs})"
        for status, runs in {
            "busy": "state IN ('queued', 'running')",
            "interrupted": "state = 'waiting'",
            "error": "state IN ('failed', 'dead')",
        }.items()
    }
)

#: Of the oldest run of a thread as of its newest; each is asked only if it matters, so that an index may be taken.
OF_EVERY_RUN: Mapping[str, str] = MappingProxyType(
    {
        "ids": "first.thread_id = ANY(%(ids)s)",
        "graph_id": "first.graph = %(graph_id)s",
        "conversation_id": "first.conversation_id = %(conversation_id)s",
        "kind": "first.kind = %(kind)s",
    }
)

LATEST_CHECKPOINT = "SELECT max(checkpoint_id) AS id FROM checkpoints WHERE thread_id = %s AND checkpoint_ns = ''"

ThreadSortBy: TypeAlias = Literal["thread_id", "status", "created_at", "updated_at"]
SortOrder: TypeAlias = Literal["asc", "desc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadFilter:
    """Which threads are asked for; what is None does not matter."""

    status: ThreadStatus | None = None
    ids: list[str] | None = None
    graph_id: str | None = None
    conversation_id: str | None = None
    kind: str | None = None


async def find_thread(connection: Connection, thread_id: str) -> DictRow:
    """One thread of the tenant, with its last run.

    Raises:
        NotFound: no run of the tenant is on such a thread.
    """
    row = await (await connection.execute(ONE.encode(), (thread_id,))).fetchone()
    if row is None:
        raise NotFound(f"there is no thread {thread_id!r}; threads.search lists them")
    return row


async def list_threads(
    connection: Connection,
    wanted: ThreadFilter,
    *,
    sort_by: ThreadSortBy,
    sort_order: SortOrder,
    limit: int,
    offset: int,
) -> list[DictRow]:
    """The tenant's threads that match."""
    matching = _matching(wanted)
    place = "LIMIT %(limit)s OFFSET %(offset)s"
    statement = f"SELECT * {matching} ORDER BY {sort_by} {sort_order}, thread_id {sort_order} {place}"
    values = asdict(wanted) | {"limit": limit, "offset": offset}
    return await (await connection.execute(statement.encode(), values)).fetchall()


async def count_threads(connection: Connection, wanted: ThreadFilter) -> int:
    """How many of the tenant's threads match."""
    statement = f"SELECT count(*) AS threads {_matching(wanted)}"
    row = await (await connection.execute(statement.encode(), asdict(wanted))).fetchone()
    assert row is not None
    return int(row["threads"])


async def latest_checkpoint(connection: Connection, thread_id: str) -> str | None:
    """The checkpoint at which a thread stands."""
    row = await (await connection.execute(LATEST_CHECKPOINT, (thread_id,))).fetchone()
    assert row is not None
    return row["id"]


async def run_at(connection: Connection, thread_id: str, checkpoint_id: str) -> RunId:
    """Which run stored a checkpoint of this thread.

    Raises:
        NotFound: the thread has no such checkpoint.
    """
    place = await place_of_checkpoint(connection, thread_id, checkpoint_id)
    if place is None:
        raise no_checkpoint(thread_id, checkpoint_id)
    return place.run_id


def no_checkpoint(thread_id: str, checkpoint_id: str) -> NotFound:
    """What is said of a checkpoint that is not there."""
    return NotFound(
        f"thread {thread_id} has no checkpoint {checkpoint_id!r}; it never had, or it is no longer kept:"
        " threads.get_history lists them"
    )


def _matching(wanted: ThreadFilter) -> str:
    conditions = [condition for name, condition in OF_EVERY_RUN.items() if getattr(wanted, name) is not None]
    if wanted.status is not None and wanted.status in NARROWED:
        conditions.append(NARROWED[wanted.status])
    threads = " AND ".join([THREAD, *conditions])
    return f"FROM ({threads}) AS thread {'' if wanted.status is None else 'WHERE status = %(status)s'}"
