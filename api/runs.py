"""Runs as an operator looks at them: which there are, what each did step by step, what it waits for."""

from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Query
from psycopg.rows import DictRow
from pydantic import BaseModel, Field, JsonValue

from api.state import PathId, ProcessDatabase, load_graphs
from checkpoints.operations import RunFilter, commands_of, find_run, list_runs, open_questions, steps_of
from db.transactions import tenant_tx
from graphs.comparison import ComparedStep, SideBySide
from graphs.inspection import answer_schema, compare_run
from rest.api_keys import Reader
from rest.pages import LIMIT_DEFAULT, Cursor, CursorPosition, Limit, Page, decode_cursor, page_of
from rest.problems import problem_responses
from rest.times import UtcTime

router = APIRouter(prefix="/v1/runs", tags=["runs"], responses=problem_responses(401, 403, 503))

RunState: TypeAlias = Literal["queued", "running", "waiting", "succeeded", "failed", "dead", "cancelled"]


class Origin(BaseModel):
    """What a fork or a replay repeats."""

    run_id: str
    checkpoint_id: str | None = Field(description="Where it began; null for the recorded start")
    values: dict[str, JsonValue] = Field(description="What of the state was edited")


class Run(BaseModel):
    """One turn of a conversation, something that waits for a person, a payment or a date, a fork or a replay."""

    id: str
    conversation_id: str
    parent_id: str | None = Field(description="The run that started it, or that it repeats")
    kind: str = Field(description="`turn`, `fork`, `replay`, or the graph of a run that waits for something")
    graph: str
    thread_id: str
    state: RunState
    outcome: str | None
    dry_run: bool = Field(description="Whether it acts on nothing and nothing of it leaves")
    attempts: int
    graph_version: str | None
    prompt_refs: JsonValue = Field(description="The prompt versions that the run began with")
    model: str | None
    origin: Origin | None = Field(description="Of a fork or a replay")
    waits_for: JsonValue = Field(description="Until when it waits before silence is an answer too")
    tokens_in: int
    tokens_out: int
    cost_usd_micros: int = Field(description="Millionths of a US dollar")
    error: str | None
    trace_id: str
    checkpoints_kept: bool = Field(description="Whether it can be forked from its steps; from its start it always can")
    worker: str | None = Field(description="The process that had it last")
    cancel_requested_at: UtcTime | None
    due_at: UtcTime | None = Field(description="Null while nothing but an answer lets it go on")
    created_at: UtcTime
    started_at: UtcTime | None
    finished_at: UtcTime | None


class OpenInterrupt(BaseModel):
    """A question that nobody has answered yet."""

    id: str = Field(description="Good for one answer")
    slot: str
    asks: Literal["person", "contact", "event"] = Field(description="Who is to answer")
    question: JsonValue
    answer_schema: JsonValue = Field(description="JSON schema of an answer; null where its graph is no longer known")


class RunCommand(BaseModel):
    """What was asked of a run."""

    id: str
    kind: Literal["resume", "cancel", "fork", "replay", "retry", "discard"]
    interrupt_id: str | None
    payload: JsonValue
    state: Literal["new", "done", "refused"]
    error: str | None
    requested_by: str = Field(description="An API key, `cli:<user>`, or `timeout` where silence was the answer")
    result: JsonValue
    created_at: UtcTime
    finished_at: UtcTime | None


class RunDetail(Run):
    """One run with all that can be done about it."""

    input: JsonValue = Field(description="The state that it began with, to be edited in a fork")
    effects: JsonValue = Field(description="Of a dry run: what it would have done")
    interrupts: list[OpenInterrupt] = Field(description="Its open questions")
    commands: list[RunCommand] = Field(description="What was asked of it, by whom, and what became of it")


class RunStep(BaseModel):
    """One step of a run: who did what, when, at what cost, and what it changed."""

    position: int
    node: str
    namespace: str
    author: str
    attempt: int
    started_at: UtcTime
    duration_ms: float
    tokens_in: int
    tokens_out: int
    cost_usd_micros: int
    prompt_ref: str | None
    tool_calls: JsonValue
    memory_hits: JsonValue
    state_diff: JsonValue = Field(description="What the step changed in the state")
    error: str | None
    checkpoint_id: str | None = Field(description="Fork the run here to begin after this step; null where none is kept")


class ComparedRun(BaseModel):
    """One side of a comparison."""

    id: str
    kind: str
    state: RunState
    outcome: str | None


class RunComparison(BaseModel):
    """Where a fork or a replay went another way than the run that it repeats."""

    recorded: ComparedRun
    repeated: ComparedRun
    same: bool = Field(description="Whether every step, the decision and the effects are the same")
    decision: SideBySide
    effects: SideBySide
    steps: list[ComparedStep] = Field(description="Ids, times and token counts are not compared")


class RunPosition(CursorPosition):
    """A run's place in the listing."""

    created_at: UtcTime
    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")


class StepPosition(CursorPosition):
    """A step's place in its run."""

    position: int = Field(ge=0, lt=2**31)


@router.get("", summary="List runs, the newest first", responses=problem_responses(400))
async def get_runs(
    key: Reader,
    database: ProcessDatabase,
    state: Annotated[list[RunState] | None, Query(description="Only those in one of these states")] = None,
    kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,40}$", description="Such as `turn` or `replay`")] = None,
    conversation_id: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,64}$")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[Run]:
    """Every run of this tenant."""
    place = decode_cursor(cursor, RunPosition)
    wanted = RunFilter(states=state, kind=kind, conversation_id=conversation_id)
    after = (place.created_at, place.id) if place else None
    async with tenant_tx(database, key.tenant_id, commit="api.runs") as connection:
        rows = await list_runs(connection, wanted, limit=limit + 1, after=after)
    return page_of(
        [Run.model_validate(_shown(row)) for row in rows],
        limit=limit,
        positions=[RunPosition(created_at=row["created_at"], id=row["id"]) for row in rows],
    )


@router.get("/{run_id}", summary="One run", responses=problem_responses(404))
async def get_run(run_id: PathId, key: Reader, database: ProcessDatabase) -> RunDetail:
    """One run of this tenant: what it began with, what it waits for, and what was asked of it."""
    async with tenant_tx(database, key.tenant_id, commit="api.run") as connection:
        row = await find_run(connection, run_id)
        commands = await commands_of(connection, run_id)
    questions = open_questions(row, commands)
    if questions:
        await load_graphs()
    interrupts = [
        {**question, "answer_schema": answer_schema(row["graph"], question["slot"])} for question in questions
    ]
    return RunDetail.model_validate(_shown(row) | {"interrupts": interrupts, "commands": commands})


@router.get("/{run_id}/steps", summary="Its steps, in order", responses=problem_responses(400, 404))
async def list_steps(
    run_id: PathId, key: Reader, database: ProcessDatabase, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT
) -> Page[RunStep]:
    """What one run did, step by step."""
    place = decode_cursor(cursor, StepPosition)
    async with tenant_tx(database, key.tenant_id, commit="api.run_steps") as connection:
        run = await find_run(connection, run_id)
        rows = await steps_of(connection, run_id, after=place.position if place else -1, limit=limit + 1)
    forgotten = {} if run["checkpoints_kept"] else {"checkpoint_id": None}
    return page_of(
        [RunStep.model_validate(row | forgotten) for row in rows],
        limit=limit,
        positions=[StepPosition(position=row["position"]) for row in rows],
    )


@router.get("/{run_id}/comparison", summary="Where it went another way", responses=problem_responses(404, 409))
async def compare_runs(run_id: PathId, key: Reader, database: ProcessDatabase) -> RunComparison:
    """A fork or a replay beside the run that it repeats; what a fork shares up to its checkpoint is left out."""
    async with tenant_tx(database, key.tenant_id, commit="api.run_comparison") as connection:
        compared = await compare_run(connection, run_id)
    found = compared.found
    return RunComparison(
        recorded=ComparedRun.model_validate(compared.recorded),
        repeated=ComparedRun.model_validate(compared.repeated),
        same=found.same,
        decision=found.decision,
        effects=found.effects,
        steps=list(found.steps),
    )


def _shown(row: DictRow) -> DictRow:
    """A row without what is in the database alone."""
    origin = row["origin"]
    return row | {"origin": origin and {name: origin[name] for name in ("run_id", "checkpoint_id", "values")}}
