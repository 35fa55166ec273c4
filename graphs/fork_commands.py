"""Asking for a second life of a run: a fork that acts, or a replay that only shows what would happen.

Both are new runs on threads of their own; the run that they repeat is not touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from checkpoints.threads import place_of_checkpoint
from core.errors import Conflict, NotFound
from core.ids import CommandId, RunId, new_id
from db.pools import Connection
from graphs.fork_values import checked_values
from graphs.registry import graph_named

#: Words of which prompts: those that the run began with, or those of today.
PromptChoice: TypeAlias = Literal["recorded", "current"]

SOURCE = """
SELECT id, conversation_id, graph, thread_id, graph_version, prompt_refs, input, origin, dry_run
FROM core.runs WHERE id = %s
"""

#: What waits for an answer waits as long as the first time; what was to wake its conversation does, unless it is dry.
INSERT = """
INSERT INTO core.runs (id, tenant_id, conversation_id, parent_id, kind, graph, thread_id, state, dry_run, origin, input,
                       prompt_refs, waits_for, default_answer, wake, trace_id)
SELECT %(id)s, tenant_id, conversation_id, id, %(kind)s, graph, %(id)s, 'queued', %(dry_run)s, %(origin)s, %(input)s,
  CASE WHEN %(current_prompts)s THEN NULL ELSE prompt_refs END,
  CASE WHEN waits_for ? 'until' THEN jsonb_build_object(
    'until', clock_timestamp() + ((waits_for->>'until')::timestamptz - created_at)) END,
  default_answer, wake AND NOT %(dry_run)s, trace_id
FROM core.runs WHERE id = %(source_id)s
"""

#: A dry run takes nobody's turn: its lease is its own.
LEASE = "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%s, current_user)"

RECORD = """
INSERT INTO core.run_commands (id, tenant_id, run_id, kind, payload, requested_by, state, result, finished_at)
VALUES (%(id)s, current_user, %(run_id)s, %(kind)s, %(payload)s, %(by)s, 'done', %(result)s, clock_timestamp())
"""


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Where a new life begins, and with which edits. Any: JSON."""

    checkpoint_id: str | None
    values: Mapping[str, Any]


async def fork(
    connection: Connection,
    run_id: RunId,
    *,
    checkpoint_id: str | None = None,
    values: Mapping[str, Any] | None = None,  # Any: JSON, checked here
    dry_run: bool = False,
    by: str,
) -> RunId:
    """Begin a new run at a checkpoint of this one, or at its start, with an edited state. It acts unless `dry_run`.

    Raises:
        NotFound: there is no such run, or no such checkpoint of it.
        RequestInvalid: `values` names what is no field of the state, or has the wrong shape.
        Conflict: the run has not begun, had ended at that checkpoint, or began under another version of its graph.
    """
    source = await _source(connection, run_id)
    trigger_ids = [message["message_id"] for message in source["input"].get("trigger", ())]
    edited = checked_values(values or {}, graph=source["graph"], trigger_ids=trigger_ids)
    if checkpoint_id is None or await _is_start(connection, source, checkpoint_id):
        start = _start_of(source)
        beginning = _Beginning(start.checkpoint_id, {**start.values, **edited})
    else:
        beginning = _Beginning(checkpoint_id, edited)
    await _check_beginning(connection, source, beginning)
    return await _insert(connection, source, beginning, kind="fork", dry_run=dry_run, by=by)


async def replay(connection: Connection, run_id: RunId, *, prompts: PromptChoice = "recorded", by: str) -> RunId:
    """Run it once more from its start, dry: calls are answered from its receipts, and nothing leaves.

    Raises:
        NotFound: there is no such run.
        Conflict: the run has not begun, or it began at a checkpoint from which it cannot begin again.
    """
    source = await _source(connection, run_id)
    beginning = _start_of(source)
    if beginning.checkpoint_id is not None and prompts == "current":
        raise Conflict(f"run {run_id} began at a checkpoint, in which its prompts stand: replay it with those recorded")
    await _check_beginning(connection, source, beginning)
    return await _insert(connection, source, beginning, kind="replay", dry_run=True, by=by, prompts=prompts)


async def _source(connection: Connection, run_id: RunId) -> DictRow:
    source = await (await connection.execute(SOURCE, (run_id,))).fetchone()
    if source is None:
        raise NotFound(f"there is no run {run_id!r}")
    if source["input"] is None or source["graph_version"] is None:
        raise Conflict(f"run {run_id} has not begun: there is nothing to begin from yet")
    return source


def _start_of(source: DictRow) -> _Beginning:
    """Its recorded input, or for what was forked at a checkpoint the copy of it on its own thread."""
    origin = source["origin"] or {}
    checkpoint_id = origin.get("checkpoint_id")
    return _Beginning(checkpoint_id, {} if checkpoint_id is None else origin["values"])


async def _is_start(connection: Connection, source: DictRow, checkpoint_id: str) -> bool:
    """Whether this is where the run itself began: its input is recorded with it."""
    place = await place_of_checkpoint(connection, source["thread_id"], checkpoint_id)
    if place is None or place.run_id != source["id"]:
        return False
    if place.is_end:
        raise Conflict(
            f"run {source['id']} had ended at checkpoint {checkpoint_id}: nothing follows; name an earlier one"
        )
    return place.is_start


async def _check_beginning(connection: Connection, source: DictRow, beginning: _Beginning) -> None:
    checkpoint_id = beginning.checkpoint_id
    if checkpoint_id is None:
        return
    place = await place_of_checkpoint(connection, source["thread_id"], checkpoint_id)
    if place is None or place.run_id != source["id"]:
        origin = source["origin"] or {"checkpoint_id": None}
        instead = f"fork run {origin['run_id']}" if origin["checkpoint_id"] else "fork the run from its start"
        raise NotFound(
            f"run {source['id']} has no checkpoint {checkpoint_id[:64]!r}; it never had, or it is no longer kept:"
            f" {instead}"
        )
    version = graph_named(source["graph"]).version
    if source["graph_version"] != version:
        raise Conflict(
            f"run {source['id']} began under version {source['graph_version']} of {source['graph']}, which is at"
            f" {version} now: fork it from its start"
        )


async def _insert(
    connection: Connection,
    source: DictRow,
    beginning: _Beginning,
    *,
    kind: Literal["fork", "replay"],
    dry_run: bool,
    by: str,
    prompts: PromptChoice = "recorded",
) -> RunId:
    new = RunId(new_id("run"))
    origin = {
        "run_id": source["id"],
        "thread_id": source["thread_id"],
        "checkpoint_id": beginning.checkpoint_id,
        "values": beginning.values,
        "graph_version": source["graph_version"],
        "receipts_of": source["origin"]["receipts_of"] if source["dry_run"] else source["id"],
    }
    given = source["input"] | beginning.values if beginning.checkpoint_id is None else source["input"]
    await connection.execute(
        INSERT,
        {
            "id": new,
            "source_id": source["id"],
            "kind": kind,
            "dry_run": dry_run,
            "origin": Jsonb(origin),
            "input": Jsonb(given),
            "current_prompts": prompts == "current",
        },
    )
    if dry_run:
        await connection.execute(LEASE, (new,))
    record = {"id": CommandId(new_id("cmd")), "run_id": source["id"], "kind": kind, "payload": Jsonb(origin), "by": by}
    await connection.execute(RECORD, record | {"result": Jsonb({"run_id": new})})
    return new
