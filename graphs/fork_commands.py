"""Asking for a second life of a run: a fork that acts, or a replay that only shows what would happen.

Both are new runs on threads of their own; the run that they repeat is not touched.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeAlias, get_type_hints

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter, ValidationError

from checkpoints.threads import run_of_checkpoint
from core.errors import Conflict, NotFound, RequestInvalid
from core.ids import CommandId, RunId, new_id
from db.pools import Connection
from graphs.registry import graph_named
from graphs.state import ConversationState

#: Who a run acts for is not edited: it follows from the run that is forked.
IDENTITY = frozenset(
    {"tenant_id", "conversation_id", "contact_id", "channel", "account_id", "run_id", "graph_version", "prompt_refs",
     "recipient"}
)  # fmt: skip

#: Words of which prompts: those that the run began with, or those of today.
PromptChoice: TypeAlias = Literal["recorded", "current"]

SOURCE = """
SELECT id, conversation_id, graph, thread_id, graph_version, prompt_refs, input, trace_id, state
FROM core.runs WHERE id = %s
"""

INSERT = """
INSERT INTO core.runs (id, tenant_id, conversation_id, parent_id, kind, graph, thread_id, state, dry_run, origin, input,
                       prompt_refs, trace_id)
VALUES (%(id)s, current_user, %(conversation_id)s, %(parent_id)s, %(kind)s, %(graph)s, %(id)s, 'queued', %(dry_run)s,
        %(origin)s, %(input)s, %(prompt_refs)s, %(trace_id)s)
"""

#: A dry run takes nobody's turn: its lease is its own.
LEASE = "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%s, current_user)"

RECORD = """
INSERT INTO core.run_commands (id, tenant_id, run_id, kind, payload, requested_by, state, result, finished_at)
VALUES (%(id)s, current_user, %(run_id)s, %(kind)s, %(payload)s, %(by)s, 'done', %(result)s, clock_timestamp())
"""


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
        Conflict: the run has not begun, or began under another version of its graph.
    """
    edited = checked_values(values or {})
    source = await _source(connection, run_id)
    if checkpoint_id is not None:
        await _check_checkpoint(connection, source, checkpoint_id)
    return await _insert(
        connection, source, kind="fork", checkpoint_id=checkpoint_id, values=edited, dry_run=dry_run, by=by
    )


async def replay(connection: Connection, run_id: RunId, *, prompts: PromptChoice = "recorded", by: str) -> RunId:
    """Run it once more from its start, dry: calls are answered from its receipts, and nothing leaves.

    Raises:
        NotFound: there is no such run.
        Conflict: the run has not begun.
    """
    source = await _source(connection, run_id)
    return await _insert(
        connection, source, kind="replay", checkpoint_id=None, values={}, dry_run=True, by=by, prompts=prompts
    )


def checked_values(values: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    """The edited fields of the state, each of the shape that it has there.

    Raises:
        RequestInvalid: one is unknown, may not be edited, or has another shape; the message names it.
    """
    for name, value in values.items():
        if name not in _fields() or name in IDENTITY:
            editable = ", ".join(sorted(_fields().keys() - IDENTITY))
            raise RequestInvalid(f"values.{name[:64]}: no field of the state that may be edited; these may: {editable}")
        try:
            _fields()[name].validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(("values", name, *map(str, first["loc"])))
            raise RequestInvalid(f"{place}: {first['msg']}") from None
    return dict(values)


@cache
def _fields() -> dict[str, TypeAdapter[Any]]:  # Any: of every field its own type
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(ConversationState).items()}


async def _source(connection: Connection, run_id: RunId) -> DictRow:
    source = await (await connection.execute(SOURCE, (run_id,))).fetchone()
    if source is None:
        raise NotFound(f"there is no run {run_id!r}")
    if source["input"] is None or source["graph_version"] is None:
        raise Conflict(f"run {run_id} has not begun: there is nothing to begin from yet")
    return source


async def _check_checkpoint(connection: Connection, source: DictRow, checkpoint_id: str) -> None:
    if await run_of_checkpoint(connection, source["thread_id"], checkpoint_id) != source["id"]:
        raise NotFound(
            f"run {source['id']} has no checkpoint {checkpoint_id[:64]!r}; it never had, or it is no longer kept:"
            " fork the run from its start"
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
    *,
    kind: Literal["fork", "replay"],
    checkpoint_id: str | None,
    values: Mapping[str, Any],  # Any: JSON
    dry_run: bool,
    by: str,
    prompts: PromptChoice = "recorded",
) -> RunId:
    new = RunId(new_id("run"))
    origin = {
        "run_id": source["id"],
        "thread_id": source["thread_id"],
        "checkpoint_id": checkpoint_id,
        "values": values,
    }
    given = source["input"] | values if checkpoint_id is None else source["input"]
    await connection.execute(
        INSERT,
        {
            "id": new,
            "conversation_id": source["conversation_id"],
            "parent_id": source["id"],
            "kind": kind,
            "graph": source["graph"],
            "dry_run": dry_run,
            "origin": Jsonb(origin),
            "input": Jsonb(given),
            "prompt_refs": Jsonb(source["prompt_refs"]) if prompts == "recorded" else None,
            "trace_id": source["trace_id"],
        },
    )
    if dry_run:
        await connection.execute(LEASE, (new,))
    record = {"id": CommandId(new_id("cmd")), "run_id": source["id"], "kind": kind, "payload": Jsonb(origin), "by": by}
    await connection.execute(RECORD, record | {"result": Jsonb({"run_id": new})})
    return new
