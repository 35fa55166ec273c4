"""Runs of a thread: let one go on, look at them, wait for one, cancel one."""

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.agent.beginning import Caller
from api.agent.run_request import RunPath, RunRequest, ThreadPath
from api.agent.shapes import Run, RunStatus, run_of, selected, states_of
from api.agent.thread_rows import find_thread
from api.agent.waiters import ProcessWaiters, WaitingResponse
from api.agent.waiting import Joiner, end_body, find_run_on, result_body
from api.state import ProcessDatabase
from checkpoints.operations import RunFilter, list_runs
from core.errors import RequestInvalid
from core.ids import RunId
from db.transactions import tenant_tx
from rest.api_keys import Reader
from rest.idempotency import answer_once
from rest.problems import problem_responses

router = APIRouter(prefix="/threads/{thread_id}/runs", responses=problem_responses(400, 401, 403, 404, 503))

LIMIT_DEFAULT = 10
LIMIT_MAX = 100
OFFSET_MAX = 10_000
MEDIA_TYPE = "application/json"
RESULT: dict[int | str, dict[str, Any]] = {  # Any: FastAPI's own type
    200: {
        "description": "The values that the run ended with, beside them `__interrupt__` where it waits for an answer;"
        " `__error__` alone where it failed or was cancelled",
        "content": {MEDIA_TYPE: {"schema": {"type": "object"}}},
    }
}

RunField: TypeAlias = Literal[
    "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata", "kwargs",
    "multitask_strategy", "cancel_reason",
]  # fmt: skip


class Cancelled(BaseModel):
    """A run was asked to end."""

    command_id: str


@router.post("", summary="Let it go on, or begin anew", responses=problem_responses(409))
async def create_run(
    thread_id: ThreadPath, asked: RunRequest, caller: Annotated[Caller, Depends()], response: Response
) -> Run:
    """What is asked follows from what is given; a worker carries it out.

    With `command.resume`, the last run of the thread gets its answer. With a checkpoint, a new run begins there on a
    thread of its own, which the answer names; it acts unless `context.dry_run`. With `context.dry_run` alone, the last
    run is repeated from its start, dry. With nothing, the last run goes on where it was interrupted or failed.
    """
    begun = await caller.begin(thread_id, asked)
    response.headers.update(begun.headers)
    async with tenant_tx(caller.database, caller.key.tenant_id, commit="agent.created_run") as connection:
        return run_of(await find_run_on(connection, begun.thread_id, begun.run_id))


@router.post(
    "/wait",
    summary="Let it go on, and wait",
    response_class=StreamingResponse,
    responses=RESULT | problem_responses(409),
)
async def wait_for_new_run(
    thread_id: ThreadPath, asked: RunRequest, caller: Annotated[Caller, Depends()], waiters: ProcessWaiters
) -> WaitingResponse:
    """What `create` does, then the result, once the run has ended or waits."""
    waiters.check()
    begun = await caller.begin(thread_id, asked)
    headers = begun.headers | {"location": f"/threads/{begun.thread_id}/runs/{begun.run_id}/join"}
    body = result_body(caller.database, caller.key.tenant_id, begun.run_id, thread_id=begun.thread_id)
    return WaitingResponse(body, waiters, headers=headers, media_type=MEDIA_TYPE)


@router.get("", summary="List its runs, the newest first")
async def get_runs(
    thread_id: ThreadPath,
    key: Reader,
    database: ProcessDatabase,
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    offset: Annotated[int, Query(ge=0, le=OFFSET_MAX)] = 0,
    status: RunStatus | None = None,
    select: Annotated[list[RunField] | None, Query(description="These fields alone")] = None,
) -> list[Run]:
    """Every run of one thread."""
    wanted = RunFilter(states=None if status is None else states_of(status), thread_id=thread_id)
    async with tenant_tx(database, key.tenant_id, commit="agent.runs") as connection:
        await find_thread(connection, thread_id)
        rows = await list_runs(connection, wanted, limit=offset + limit)
    return selected([run_of(row) for row in rows[offset:]], select)


@router.get("/{run_id}", summary="One run")
async def get_run(thread_id: ThreadPath, run_id: RunPath, key: Reader, database: ProcessDatabase) -> Run:
    """One run of this thread, with the state that it began with."""
    async with tenant_tx(database, key.tenant_id, commit="agent.run") as connection:
        return run_of(await find_run_on(connection, thread_id, run_id))


@router.get("/{run_id}/join", summary="Wait for it", response_class=StreamingResponse, responses=RESULT)
async def join_run(joiner: Annotated[Joiner, Depends()]) -> WaitingResponse:
    """The result, once the run has ended or waits."""
    await joiner.check()
    body = result_body(joiner.database, joiner.key.tenant_id, joiner.run_id, thread_id=joiner.thread_id)
    headers = {"location": f"/threads/{joiner.thread_id}/runs/{joiner.run_id}/join"}
    return WaitingResponse(body, joiner.waiters, headers=headers, media_type=MEDIA_TYPE)


@router.post(
    "/{run_id}/cancel",
    summary="End it",
    status_code=202,
    response_class=Response,
    responses={
        202: {"description": "It is asked to end; the body is empty"},
        200: {"description": "It has ended", "content": {MEDIA_TYPE: {"schema": {"type": "null"}}}},
    }
    | problem_responses(409),
)
async def cancel_run(
    thread_id: ThreadPath,
    run_id: RunPath,
    caller: Annotated[Caller, Depends()],
    waiters: ProcessWaiters,
    *,
    wait: Annotated[bool, Query(description="Answer null, once it has ended")] = False,
    action: Annotated[Literal["interrupt", "rollback"], Query(description="`rollback` is refused")] = "interrupt",
) -> Response:
    """At once where it stands still, at its next step where it is at work. Nothing of it is sent then."""
    from graphs.commands import cancel

    if action == "rollback":
        raise RequestInvalid("action: what a run did is on record and is not rolled back; `interrupt` ends it")

    if wait:
        waiters.check()

    async def act() -> Cancelled:
        await find_run_on(connection, thread_id, run_id)
        return Cancelled(command_id=await cancel(connection, RunId(run_id), by=caller.key.id))

    async with tenant_tx(caller.database, caller.key.tenant_id, commit="agent.cancel_run") as connection:
        await answer_once(connection, caller.acting, act)
    caller.ring()
    if not wait:
        return Response(status_code=202)
    headers = {"location": f"/threads/{thread_id}/runs/{run_id}/join"}
    body = end_body(caller.database, caller.key.tenant_id, run_id, thread_id=thread_id)
    return WaitingResponse(body, waiters, headers=headers, media_type=MEDIA_TYPE)
