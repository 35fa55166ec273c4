"""Looking at runs: which there are, what each did, and from where it could go on. Reads rows, never a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from core.errors import NotFound
from core.ids import TenantId
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx

#: What waits for an answer alone is due never, which Python has no word for.
COLUMNS = """
id, conversation_id, parent_id, kind, graph, thread_id, state, outcome, dry_run, attempts, graph_version, prompt_refs,
model, origin, interrupts, waits_for, tokens_in, tokens_out, cost_usd_micros, error, trace_id, checkpoints_kept, worker,
cancel_requested_at, nullif(due_at, 'infinity') AS due_at, created_at, started_at, finished_at
"""

#: With what it began with, and what it wanted to have done where nothing was to be done.
RUN = f"SELECT {COLUMNS}, input, effects FROM core.runs WHERE id = %s"

RUNS = f"""
SELECT {COLUMNS} FROM core.runs
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(conversation_id)s::text IS NULL OR conversation_id = %(conversation_id)s)
  AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
  AND (%(after_at)s::timestamptz IS NULL OR (created_at, id) < (%(after_at)s, %(after_id)s))
  AND tenant_id = current_user
ORDER BY created_at DESC, id DESC LIMIT %(limit)s
"""

#: Over all tenants, for an operator of the installation. Ids sort by the time they were made, and are indexed.
NEWEST = """
SELECT id, tenant_id FROM core.runs
WHERE (%(states)s::text[] IS NULL OR state = ANY(%(states)s)) AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(conversation_id)s::text IS NULL OR conversation_id = %(conversation_id)s)
  AND (%(thread_id)s::text IS NULL OR thread_id = %(thread_id)s)
ORDER BY id DESC LIMIT %(limit)s
"""

NAMED = f"SELECT {COLUMNS} FROM core.runs WHERE id = ANY(%s)"

TENANT = "SELECT tenant_id FROM core.runs WHERE id = %s"

STEPS = """
SELECT position, node, namespace, author, attempt, started_at, duration_ms, tokens_in, tokens_out, cost_usd_micros,
       prompt_ref, tool_calls, memory_hits, state_diff, error, checkpoint_id
FROM core.run_steps WHERE run_id = %(run_id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s
"""

COMMANDS = """
SELECT id, kind, interrupt_id, payload, state, error, requested_by, result, created_at, finished_at
FROM core.run_commands WHERE run_id = %s ORDER BY created_at, id
"""

#: Nothing more comes of a run in one of these states, unless somebody retries it.
ENDED = ("succeeded", "failed", "dead", "cancelled")
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
    place = {"after_at": after[0] if after else None, "after_id": after[1] if after else None}
    values = _filters(wanted) | place | {"limit": limit}
    return await (await connection.execute(RUNS.encode(), values)).fetchall()


async def list_runs_of_all(database: Database, wanted: RunFilter, *, limit: int) -> list[DictRow]:
    """The newest runs of every tenant, each with its `tenant_id`; for an operator of the installation."""
    async with queue_tx(database, commit="runs.newest") as connection:
        values = _filters(wanted) | {"limit": limit}
        newest = await (await connection.execute(NEWEST, values)).fetchall()
    found: list[DictRow] = []
    for tenant_id in {row["tenant_id"] for row in newest}:
        ids = [row["id"] for row in newest if row["tenant_id"] == tenant_id]
        async with tenant_tx(database, TenantId(tenant_id), commit="runs.look") as connection:
            rows = await (await connection.execute(NAMED.encode(), (ids,))).fetchall()
        found += [row | {"tenant_id": tenant_id} for row in rows]
    return sorted(found, key=lambda row: row["id"], reverse=True)


async def tenant_of_run(database: Database, run_id: str) -> TenantId:
    """Whose run it is; for an operator of the installation.

    Raises:
        NotFound: there is no such run.
    """
    async with queue_tx(database, commit="runs.tenant_of") as connection:
        row = await (await connection.execute(TENANT, (run_id,))).fetchone()
    if row is None:
        raise NotFound(f"there is no run {run_id!r}; see `chowk runs list`")
    return TenantId(row["tenant_id"])


async def find_run(connection: Connection, run_id: str) -> DictRow:
    """One run of the tenant, with its `input` and, of a dry run, its `effects`.

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


def open_questions(
    run: Mapping[str, Any], commands: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:  # Any: rows
    """What a run waits to be told: `id`, `slot`, `asks` and `question` of each that nobody has answered yet."""
    if run["state"] in ENDED:
        return []
    answered = {command["interrupt_id"] for command in commands}
    return [question for question in run["interrupts"] if question["id"] not in answered]


def _filters(wanted: RunFilter) -> dict[str, Any]:  # Any: values of a statement
    return {
        "states": None if wanted.states is None else list(wanted.states),
        "kind": wanted.kind,
        "conversation_id": wanted.conversation_id,
        "thread_id": wanted.thread_id,
    }
