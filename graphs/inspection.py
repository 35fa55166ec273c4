"""Looking at runs beyond their rows: what an open question takes for an answer, how a repetition compares.

Light to import: LangGraph comes with `answer_schema`, when it is called.
"""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from pydantic import TypeAdapter

from checkpoints.operations import find_run, steps_of
from core.errors import Conflict
from db.pools import Connection
from graphs.comparison import Comparison, compare


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """A run, its fork or replay, and where they went different ways."""

    recorded: DictRow
    repeated: DictRow
    found: Comparison


async def compare_run(connection: Connection, run_id: str) -> ComparedRuns:
    """A fork or a replay beside the run that it repeats. Needs the tenant's transaction.

    Raises:
        NotFound: there is no such run.
        Conflict: it repeats no other.
    """
    repeated = await find_run(connection, run_id)
    if repeated["origin"] is None:
        raise Conflict(f"run {run_id} is a {repeated['kind']} and repeats no other; name a fork or a replay")
    recorded = await find_run(connection, repeated["origin"]["run_id"])
    here, there = await steps_of(connection, recorded["id"]), await steps_of(connection, run_id)
    found = compare(here, there, recorded_origin=recorded["origin"], repeated_origin=repeated["origin"])
    return ComparedRuns(recorded, repeated, found)


def answer_schema(graph: str, slot: str) -> dict[str, Any] | None:  # Any: a JSON schema
    """What an answer to this question looks like; None where its graph is gone, or asks it no longer."""
    from graphs.registry import GRAPHS

    answers = GRAPHS[graph].answers if graph in GRAPHS else {}
    return TypeAdapter[Any](answers[slot]).json_schema() if slot in answers else None
