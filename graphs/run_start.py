"""Beginning a run, or taking it up again: what its graph is given, fixed in the run's row before the first step.

A run that is claimed again gets the very same input, so that it goes on where it stopped, and the answers that were
given to its questions meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from checkpoints.threads import forget_run
from core.errors import Conflict, FenceLost
from core.ids import CommandId, new_id
from db.pools import Connection, Database
from db.transactions import tenant_tx
from graphs.registry import RegisteredGraph, graph_named
from graphs.run_claim import ClaimedRun
from graphs.turn_start import identity, turn_input

#: Who answers a question whose time is over.
TIMEOUT = "timeout"

#: A replay is answered as the run that it repeats.
RUN = """
SELECT r.input, r.prompt_refs, r.graph_version, r.origin, r.interrupts, r.default_answer,
  r.cancel_requested_at IS NOT NULL AS cancelled,
  coalesce((r.waits_for->>'until')::timestamptz <= clock_timestamp(), false) AS overdue,
  (SELECT coalesce(max(s.position) + 1, 0) FROM core.run_steps s WHERE s.run_id = r.id) AS next_step,
  (SELECT coalesce(jsonb_object_agg(c.payload->>'slot', c.payload->'answer'), '{}') FROM core.run_commands c
   WHERE c.kind = 'resume' AND c.state <> 'refused' AND c.payload ? 'slot'
     AND c.run_id = CASE WHEN r.kind = 'replay' THEN r.origin->>'run_id' ELSE r.id END) AS answers
FROM core.runs r WHERE r.id = %(run_id)s AND r.fence = %(fence)s AND r.state = 'running'
"""

CONVERSATION = "SELECT contact_id, account_id, channel, recipient FROM conversations WHERE id = %s"

BEGIN = """
UPDATE core.runs SET input = %(input)s, prompt_refs = %(prompt_refs)s, graph_version = %(graph_version)s,
       model = %(model)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""

ANSWER_BY_DEFAULT = """
INSERT INTO core.run_commands (id, tenant_id, run_id, kind, interrupt_id, payload, requested_by)
VALUES (%(id)s, current_user, %(run_id)s, 'resume', %(interrupt_id)s, %(payload)s, %(requested_by)s)
ON CONFLICT (run_id, interrupt_id) DO NOTHING
"""

#: Why a run is not advanced although it was claimed.
NoStart: TypeAlias = Literal["nothing_to_answer", "cancelled"]


@dataclass(frozen=True, slots=True)
class Pins:
    """What a run keeps for its whole life, however often the software changes meanwhile."""

    #: Prompt id to `version@sha256`.
    prompt_refs: Mapping[str, str]
    model: str


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that a fork or a replay repeats, from which checkpoint on, and what of the state was edited."""

    run_id: str
    thread_id: str
    #: None: from its start.
    checkpoint_id: str | None
    values: Mapping[str, Any]  # Any: JSON
    #: The version of the graph that stored the checkpoint.
    graph_version: str
    #: The run that really made the calls which a dry run is answered with.
    receipts_of: str


@dataclass(frozen=True, slots=True)
class RunStart:
    """What a run works with: the same at every attempt."""

    graph: RegisteredGraph
    values: Mapping[str, Any]  # Any: JSON
    prompt_refs: Mapping[str, str]
    #: The position of the next step to record; above 0 when the run goes on after an interruption.
    next_step: int
    #: What its questions were answered with, by slot.
    answers: Mapping[str, Any]  # Any: JSON
    origin: Origin | None

    @property
    def message_ids(self) -> list[str]:
        """The messages that a turn answers."""
        return [message["message_id"] for message in self.values.get("trigger", ())]

    @property
    def finished_ids(self) -> list[str]:
        """The runs whose end a turn has seen."""
        return [run["run_id"] for run in self.values.get("finished", ())]


async def start_run(database: Database, run: ClaimedRun, pins: Pins) -> RunStart | NoStart:
    """Fix the run's input, or find the one fixed before.

    Raises:
        FenceLost: another process holds the run by now.
        Conflict: it was to begin at a checkpoint of another version of its graph.
    """
    graph = graph_named(run.graph)
    keys: dict[str, Any] = {"run_id": run.run_id, "fence": run.fence}
    async with tenant_tx(database, run.tenant_id, commit="run.start") as connection:
        row = await (await connection.execute(RUN, keys)).fetchone()
        if row is None:
            raise FenceLost(f"run {run.run_id} is no longer held under fence {run.fence}")
        if row["cancelled"]:
            return "cancelled"
        _refuse_old_checkpoint(run, row, graph)
        if row["graph_version"] is None:
            values = await _values(connection, run, row)
            if values is None:
                return "nothing_to_answer"
            row |= await _begin(connection, run, row, values, graph, pins)
        elif row["graph_version"] != graph.version:
            await _begin_anew(connection, run, row, graph)
        answers = row["answers"] | await _default_answers(connection, run, row)
    return RunStart(graph, row["input"], row["prompt_refs"], row["next_step"], answers, _origin(row))


def _refuse_old_checkpoint(run: ClaimedRun, row: DictRow, graph: RegisteredGraph) -> None:
    origin = row["origin"]
    if origin is not None and origin["checkpoint_id"] is not None and origin["graph_version"] != graph.version:
        raise Conflict(
            f"run {run.run_id} was to begin at a checkpoint of version {origin['graph_version']} of {graph.name}, which"
            f" is at {graph.version} now: fork run {origin['run_id']} from its start"
        )


async def _values(connection: Connection, run: ClaimedRun, row: DictRow) -> dict[str, Any] | None:  # Any: JSON
    """The fields of the state that the run begins with."""
    if run.kind == "turn":
        return await turn_input(connection, run)
    conversation = await (await connection.execute(CONVERSATION, (run.conversation_id,))).fetchone()
    assert conversation is not None
    return (row["input"] or {}) | identity(run, conversation)


async def _begin(
    connection: Connection,
    run: ClaimedRun,
    row: DictRow,
    values: Mapping[str, Any],
    graph: RegisteredGraph,
    pins: Pins,
) -> dict[str, Any]:  # Any: columns of the row
    """Pin the run. A fork or a replay was pinned when it was asked for."""
    prompt_refs = row["prompt_refs"] or dict(pins.prompt_refs)
    pinned = {"run_id": run.run_id, "graph_version": graph.version, "prompt_refs": prompt_refs}
    begun = {"input": {**values, **pinned}, "prompt_refs": prompt_refs}
    await connection.execute(
        BEGIN,
        {
            "run_id": run.run_id,
            "fence": run.fence,
            "input": Jsonb(begun["input"]),
            "prompt_refs": Jsonb(prompt_refs),
            "graph_version": graph.version,
            "model": pins.model,
        },
    )
    return begun


async def _begin_anew(connection: Connection, run: ClaimedRun, row: DictRow, graph: RegisteredGraph) -> None:
    """Let a run that began under another version of its graph begin once more from its recorded input.

    Its checkpoints may not fit the nodes of today. What it has done it does not repeat: keys are the same.
    """
    await forget_run(connection, run.thread_id, run.run_id)
    row["input"]["graph_version"] = graph.version
    await connection.execute(
        "UPDATE core.runs SET graph_version = %(version)s, input = %(input)s WHERE id = %(run_id)s",
        {"version": graph.version, "input": Jsonb(row["input"]), "run_id": run.run_id},
    )


async def _default_answers(connection: Connection, run: ClaimedRun, row: DictRow) -> dict[str, Any]:  # Any: JSON
    """Answer what nobody answered in time; gives those answers by slot."""
    if not row["overdue"]:
        return {}
    silent = [question for question in row["interrupts"] if question["slot"] not in row["answers"]]
    for question in silent:
        payload = {"slot": question["slot"], "answer": row["default_answer"]}
        await connection.execute(
            ANSWER_BY_DEFAULT,
            {
                "id": CommandId(new_id("cmd")),
                "run_id": run.run_id,
                "interrupt_id": question["id"],
                "payload": Jsonb(payload),
                "requested_by": TIMEOUT,
            },
        )
    return {question["slot"]: row["default_answer"] for question in silent}


def _origin(row: DictRow) -> Origin | None:
    return None if row["origin"] is None else Origin(**row["origin"])
