"""The states of a thread: where it stands, where it stood, and a new life from one of them with an edited state."""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.agent.beginning import Caller, fork_here
from api.agent.run_request import (
    CheckpointId,
    CheckpointName,
    CheckpointPath,
    ThreadPath,
    WholeNumber,
    named_checkpoint,
    only,
)
from api.agent.shapes import Checkpoint, ThreadState
from api.agent.snapshots import read_states
from api.agent.thread_rows import find_thread
from api.state import ProcessDatabase
from core.errors import RequestInvalid
from core.ids import RunId, TenantId
from db.pools import Database
from db.transactions import tenant_tx
from rest.api_keys import Reader
from rest.idempotency import answer_once
from rest.json_values import StorableFields
from rest.problems import problem_responses

router = APIRouter(prefix="/threads/{thread_id}", responses=problem_responses(400, 401, 403, 404, 503))

HISTORY_DEFAULT = 10
HISTORY_MAX = 1_000

#: A field of a state, or one field of its values.
StateField = Annotated[
    str,
    Field(
        pattern=r"^(values(\.[A-Za-z_]{1,64})?|next|tasks|checkpoint|metadata|created_at|parent_checkpoint|interrupts)$"
    ),
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StateAt(_Closed):
    """The state at a checkpoint."""

    checkpoint: CheckpointName
    subgraphs: StrictBool = Field(default=False, description="Graphs hold no graphs here")
    select: list[StateField] | None = None


class History(_Closed):
    """Which states are told, the latest first."""

    limit: WholeNumber = Field(default=HISTORY_DEFAULT, ge=1, le=HISTORY_MAX)
    before: CheckpointId | CheckpointName | None = Field(default=None, description="Those before this checkpoint")
    metadata: StorableFields | None = Field(default=None, description="What its metadata must hold, such as `run_id`")
    checkpoint: CheckpointName | None = Field(default=None, description="Graphs hold no graphs: the thread itself")
    select: list[StateField] | None = None


class StateUpdate(_Closed):
    """A state to begin with, on a new thread."""

    values: StorableFields | None = Field(default=None, description="Fields of the state, each as it stands there")
    checkpoint: CheckpointName | None = Field(default=None, description="Begin here")
    checkpoint_id: CheckpointId | None = Field(default=None, description="Begin here")
    as_node: Annotated[
        None, only([None], why="what comes next follows from the edited state, as if its last node had written it")
    ] = None


class UpdatedState(BaseModel):
    """Where the edited state stands."""

    checkpoint: Checkpoint = Field(description="Of the new thread, where it stands once a worker has taken it up")
    run_id: str = Field(description="The run that goes on from there by itself")


@router.get("/state", summary="Where it stands")
async def get_state(
    thread_id: ThreadPath,
    key: Reader,
    database: ProcessDatabase,
    select: Annotated[list[StateField] | None, Query()] = None,
) -> ThreadState:
    """The latest state of a thread."""
    return await _state(database, key.tenant_id, thread_id, None, select)


@router.get("/state/{checkpoint_id}", summary="Where it stood")
async def get_state_at(
    thread_id: ThreadPath,
    checkpoint_id: CheckpointPath,
    key: Reader,
    database: ProcessDatabase,
    select: Annotated[list[StateField] | None, Query()] = None,
) -> ThreadState:
    """The state at a checkpoint."""
    return await _state(database, key.tenant_id, thread_id, checkpoint_id, select)


@router.post("/state/checkpoint", summary="Where it stood")
async def post_state_at(thread_id: ThreadPath, asked: StateAt, key: Reader, database: ProcessDatabase) -> ThreadState:
    """The state at a checkpoint that is named as states name theirs."""
    checkpoint_id = named_checkpoint(thread_id, [asked.checkpoint])
    return await _state(database, key.tenant_id, thread_id, checkpoint_id, asked.select)


@router.post("/history", summary="Where it stood, the latest first")
async def post_history(
    thread_id: ThreadPath, asked: History, key: Reader, database: ProcessDatabase
) -> list[ThreadState]:
    """The states that are kept. Of finished runs of a conversation those are the last few."""
    before = asked.before
    if isinstance(before, CheckpointName):
        before = named_checkpoint(thread_id, [before])
    if named_checkpoint(thread_id, [asked.checkpoint]) is not None:
        raise RequestInvalid("checkpoint: it names whose history is told, not from where on; use `before`")
    async with tenant_tx(database, key.tenant_id, commit="agent.history") as connection:
        thread = await find_thread(connection, thread_id)
    reader = await read_states(database, key.tenant_id, thread["graph"])
    states = await reader.history(thread_id, limit=asked.limit, before=before, metadata=asked.metadata)
    return [_selected(state, asked.select) for state in states]


@router.post("/state", summary="Begin anew with an edited state", responses=problem_responses(409))
async def update_state(thread_id: ThreadPath, asked: StateUpdate, caller: Annotated[Caller, Depends()]) -> UpdatedState:
    """A new run on a thread of its own, which acts; the thread that is named is not touched.

    It begins at the checkpoint, or where none is named at the start of the thread's last run.
    """
    from graphs.fork_commands import fork

    by_id = None if asked.checkpoint_id is None else CheckpointName(checkpoint_id=asked.checkpoint_id)
    checkpoint_id = named_checkpoint(thread_id, [asked.checkpoint, by_id])
    by = caller.key.id

    async def act() -> UpdatedState:
        thread = await find_thread(connection, thread_id)
        if checkpoint_id is None:
            run_id = await fork(connection, RunId(thread["run_id"]), values=asked.values, by=by)
        else:
            run_id = await fork_here(connection, thread, checkpoint_id, values=asked.values, by=by)
        place = Checkpoint(thread_id=run_id, checkpoint_ns="", checkpoint_id=None, checkpoint_map=None)
        return UpdatedState(checkpoint=place, run_id=run_id)

    async with tenant_tx(caller.database, caller.key.tenant_id, commit="agent.update_state") as connection:
        answer = await answer_once(connection, caller.acting, act)
    caller.ring()
    return UpdatedState.model_validate_json(bytes(answer.body))


async def _state(
    database: Database, tenant_id: TenantId, thread_id: str, checkpoint_id: str | None, select: list[str] | None
) -> ThreadState:
    async with tenant_tx(database, tenant_id, commit="agent.state") as connection:
        thread = await find_thread(connection, thread_id)
    reader = await read_states(database, tenant_id, thread["graph"])
    return _selected(await reader.state(thread_id, checkpoint_id), select)


def _selected(state: ThreadState, select: list[str] | None) -> ThreadState:
    """The same with the fields that were asked for alone; None asks for all."""
    if select is None:
        return state
    kept: dict[str, Any] = {name: value for name, value in state.items() if name in select}
    fields = [name.removeprefix("values.") for name in select if name.startswith("values.")]
    if fields and "values" not in select:
        values = state.get("values", {})
        kept["values"] = {name: values[name] for name in fields if name in values}
    return cast("ThreadState", kept)
