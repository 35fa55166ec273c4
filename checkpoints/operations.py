"""Looking at runs: which there are, what each did, and from where it could go on. Reads rows, never a checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from core.errors import NotFound
from db.pools import Connection

COLUMNS = """
id, conversation_id, parent_id, kind, graph, thread_id, state, outcome, dry_run, attempts, graph_version, prompt_refs,
model, origin, interrupts, waits_for, tokens_in, tokens_out, cost_usd_micros, error, trace_id, checkpoints_kept, worker,
cancel_requested_at, due_at, created_at, started_at, finished_at
"""

RUN = f"SELECT {COLUMNS} FROM core.runs WHERE id = %s"

RUNS = f"""
SELECT {COLUMNS} FROM core.runs
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(conversation_id)s::text IS NULL OR conversation_id = %(conversation_id)s)
  AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
  AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s))
  AND tenant_id = current_user
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""

STEPS = """
SELECT position, node, namespace, author, attempt, started_at, duration_ms, tokens_in, tokens_out, cost_usd_micros,
       prompt_ref, tool_calls, memory_hits, state_diff, error, checkpoint_id
FROM core.run_steps WHERE run_id = %(run_id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s
"""

COMMANDS = """
SELECT id, kind, interrupt_id, payload, state, error, requested_by, result, created_at, finished_at
FROM core.run_commands WHERE run_id = %s ORDER BY created_at, id
"""

#: All steps of a run: it takes a few dozen at most.
STEPS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are asked for; what is None does not matter."""

    states: Sequence[str] | None = None
    kind: str | None = None
    conversation_id: str | None = None
    thread_id: str | None = None


async def list_runs(
    connection: Connection, wanted: RunFilter, *, limit: int, after: tuple[datetime, str] | None = None
) -> list[DictRow]:
    """The tenant's runs, newest first. `after` is `(created_at, id)` of the last one that was seen."""
    values: dict[str, Any] = {
        "states": None if wanted.states is None else list(wanted.states),
        "kind": wanted.kind,
        "conversation_id": wanted.conversation_id,
        "thread_id": wanted.thread_id,
        "after_at": after[0] if after else None,
        "after_id": after[1] if after else None,
        "limit": limit,
    }
    return await (await connection.execute(RUNS.encode(), values)).fetchall()


async def find_run(connection: Connection, run_id: str) -> DictRow:
    """One run of the tenant.

    Raises:
        NotFound: there is no such run.
    """
    row = await (await connection.execute(RUN.encode(), (run_id,))).fetchone()
    if row is None:
        raise NotFound(f"there is no run {run_id!r}")
    return row


async def steps_of(connection: Connection, run_id: str, *, after: int = -1, limit: int = STEPS_MAX) -> list[DictRow]:
    """What a run did, in order, from the position behind `after` on."""
    return await (await connection.execute(STEPS, {"run_id": run_id, "after": after, "limit": limit})).fetchall()


async def commands_of(connection: Connection, run_id: str) -> list[DictRow]:
    """What was asked of a run, by whom, and what became of it."""
    return await (await connection.execute(COMMANDS, (run_id,))).fetchall()
