"""Runs and their steps: what an agent did, why, and how long it took."""

from typing import Literal

from fastapi import APIRouter
from psycopg.rows import DictRow
from pydantic import BaseModel, Field, JsonValue

from api.state import PathId, ProcessDatabase
from core.errors import NotFound
from core.ids import RunId
from db.pools import Connection
from db.transactions import tenant_tx
from rest.api_keys import Reader
from rest.pages import LIMIT_DEFAULT, Cursor, CursorPosition, Limit, Page, decode_cursor, page_of
from rest.problems import problem_responses
from rest.times import UtcTime

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=problem_responses(401, 403, 404, 503))


class Run(BaseModel):
    """One turn of a conversation, or something that waits for a person, a payment or a date."""

    id: str
    conversation_id: str
    parent_id: str | None
    kind: str
    graph: str
    state: Literal["queued", "running", "waiting", "succeeded", "failed", "dead", "cancelled"]
    outcome: str | None
    attempts: int
    graph_version: str | None
    prompt_refs: JsonValue = Field(description="The prompt versions that the run began with")
    model: str | None
    waits_for: JsonValue
    tokens_in: int
    tokens_out: int
    error: str | None
    trace_id: str
    due_at: UtcTime
    created_at: UtcTime
    started_at: UtcTime | None
    finished_at: UtcTime | None


class RunStep(BaseModel):
    """One step of a run: a node, what it read and wrote, and who was the author."""

    position: int
    node: str
    namespace: str
    author: str
    attempt: int
    started_at: UtcTime
    duration_ms: float
    tokens_in: int
    tokens_out: int
    prompt_ref: str | None
    tool_calls: JsonValue
    memory_hits: JsonValue
    state_diff: JsonValue = Field(description="What the step changed in the state")
    error: str | None


class StepPosition(CursorPosition):
    """A step's place in its run."""

    position: int = Field(ge=0, lt=2**31)


RUN = """
SELECT id, conversation_id, parent_id, kind, graph, state, outcome, attempts, graph_version, prompt_refs, model,
       waits_for, tokens_in, tokens_out, error, trace_id, due_at, created_at, started_at, finished_at
FROM core.runs WHERE id = %s
"""

STEPS = """
SELECT position, node, namespace, author, attempt, started_at, duration_ms, tokens_in, tokens_out, prompt_ref,
       tool_calls, memory_hits, state_diff, error
FROM core.run_steps WHERE run_id = %(run_id)s AND position > %(after)s ORDER BY position LIMIT %(limit)s
"""


@router.get("/{run_id}", summary="One run")
async def get_run(run_id: PathId, key: Reader, database: ProcessDatabase) -> Run:
    """One run of this tenant."""
    async with tenant_tx(database, key.tenant_id, commit="api.run") as connection:
        return Run.model_validate(await _run(connection, RunId(run_id)))


@router.get("/{run_id}/steps", summary="Its steps, in order", responses=problem_responses(400))
async def list_steps(
    run_id: PathId, key: Reader, database: ProcessDatabase, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
) -> Page[RunStep]:
    """What one run did, step by step."""
    place = decode_cursor(cursor, StepPosition)
    values = {"run_id": run_id, "after": place.position if place else -1, "limit": limit + 1}
    async with tenant_tx(database, key.tenant_id, commit="api.run_steps") as connection:
        await _run(connection, RunId(run_id))
        rows = await (await connection.execute(STEPS, values)).fetchall()
    return page_of(
        [RunStep.model_validate(row) for row in rows],
        limit=limit,
        positions=[StepPosition(position=row["position"]) for row in rows],
    )


async def _run(connection: Connection, run_id: RunId) -> DictRow:
    row = await (await connection.execute(RUN, (run_id,))).fetchone()
    if row is None:
        raise NotFound(f"there is no run {run_id!r}")
    return row
