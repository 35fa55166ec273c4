"""What an operator asks of runs: to go on, to end, to begin once more. Each is accepted or refused at once.

Accepted means that it is committed; a worker carries it out. Nothing has changed where it is refused.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.state import GraphsLoaded, PathId, ProcessDatabase, Ring
from core.ids import RunId
from db.pools import Connection
from db.transactions import tenant_tx
from rest.api_keys import Writer
from rest.idempotency import Acting, answer_once
from rest.json_values import StorableFields, StorableJson
from rest.problems import problem_responses

router = APIRouter(
    prefix="/v1/runs/{run_id}",
    tags=["runs"],
    responses=problem_responses(400, 401, 403, 404, 409, 413, 503),
)

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ResumeRequest(BaseModel):
    """How a run goes on."""

    model_config = ConfigDict(extra="forbid")

    answer: StorableJson = Field(default=None, description="The answer to its question, where it waits for one")
    interrupt_id: Id | None = Field(default=None, description="Which question; not needed where one alone is open")


class ForkRequest(BaseModel):
    """Where a new life of a run begins, and with which state."""

    model_config = ConfigDict(extra="forbid")

    checkpoint_id: Id | None = Field(default=None, description="Of one of its steps; none begins from its start")
    values: StorableFields = Field(default_factory=dict, description="Fields of the state to begin with instead")
    dry_run: bool = Field(default=False, description="Act on nothing and let nothing leave")


class ReplayRequest(BaseModel):
    """How a run is repeated."""

    model_config = ConfigDict(extra="forbid")

    prompts: Literal["recorded", "current"] = Field(
        default="recorded", description="The words that it began with, or those of today"
    )


class AcceptedCommand(BaseModel):
    """What was asked of a run is committed."""

    run_id: str
    command_id: str


class StartedRun(BaseModel):
    """A new run that repeats another."""

    run_id: str = Field(description="The new run")
    repeats: str
    kind: Literal["fork", "replay"]
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """Who asks, and what asking takes. The key is looked at first."""

    key: Writer
    database: ProcessDatabase
    acting: Acting
    ring: Ring
    graphs: GraphsLoaded

    async def ask(self, act: Callable[[Connection], Awaitable[AcceptedCommand | StartedRun]]) -> JSONResponse:
        """Ask it once, and wake whoever carries it out."""
        async with tenant_tx(self.database, self.key.tenant_id, commit="api.run_command") as connection:
            answer = await answer_once(connection, self.acting, lambda: act(connection), status=202)
        self.ring()
        return answer


Asking = Annotated[Operator, Depends()]


@router.post("/resume", summary="Let it go on", status_code=202, response_model=AcceptedCommand)
async def resume_run(run_id: PathId, operator: Asking, asked: ResumeRequest | None = None) -> JSONResponse:
    """With an answer where it waits for one; from the interrupted step where it was interrupted, failed or died."""
    from graphs.commands import resume

    wanted = asked or ResumeRequest()

    async def act(connection: Connection) -> AcceptedCommand:
        command = await resume(
            connection, RunId(run_id), by=operator.key.id, answer=wanted.answer, interrupt_id=wanted.interrupt_id
        )
        return AcceptedCommand(run_id=run_id, command_id=command)

    return await operator.ask(act)


@router.post("/cancel", summary="End it", status_code=202, response_model=AcceptedCommand)
async def cancel_run(run_id: PathId, operator: Asking) -> JSONResponse:
    """At once where it stands still, at its next step where it is at work. Nothing of it is sent then."""
    from graphs.commands import cancel

    async def act(connection: Connection) -> AcceptedCommand:
        command = await cancel(connection, RunId(run_id), by=operator.key.id)
        return AcceptedCommand(run_id=run_id, command_id=command)

    return await operator.ask(act)


@router.post("/fork", summary="Begin it anew, edited", status_code=202, response_model=StartedRun)
async def fork_run(run_id: PathId, operator: Asking, asked: ForkRequest | None = None) -> JSONResponse:
    """A new run on a thread of its own, which acts unless it is a dry run; the run that is forked is not touched."""
    from graphs.fork_commands import fork

    wanted = asked or ForkRequest()

    async def act(connection: Connection) -> StartedRun:
        new = await fork(
            connection, RunId(run_id), by=operator.key.id,
            checkpoint_id=wanted.checkpoint_id, values=wanted.values, dry_run=wanted.dry_run,
        )  # fmt: skip
        return StartedRun(run_id=new, repeats=run_id, kind="fork", dry_run=wanted.dry_run)

    return await operator.ask(act)


@router.post("/replay", summary="Repeat it, dry", status_code=202, response_model=StartedRun)
async def replay_run(run_id: PathId, operator: Asking, asked: ReplayRequest | None = None) -> JSONResponse:
    """From its start, on a thread of its own: calls are answered from its receipts, and nothing leaves.

    Its comparison says where it went another way.
    """
    from graphs.fork_commands import replay

    wanted = asked or ReplayRequest()

    async def act(connection: Connection) -> StartedRun:
        new = await replay(connection, RunId(run_id), by=operator.key.id, prompts=wanted.prompts)
        return StartedRun(run_id=new, repeats=run_id, kind="replay", dry_run=True)

    return await operator.ask(act)
