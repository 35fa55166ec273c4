"""Threads: which there are, and a dry copy of one."""

from typing import Annotated, Any, Literal, TypeAlias, cast

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from api.agent.beginning import Begun, Caller
from api.agent.run_request import NoFields, ThreadId, ThreadPath, WholeNumber, only
from api.agent.shapes import Thread, ThreadStatus, assistant_id_of, selected
from api.agent.snapshots import thread_of
from api.agent.thread_rows import (
    SortOrder,
    ThreadFilter,
    ThreadSortBy,
    count_threads,
    find_thread,
    list_threads,
)
from api.state import GraphsLoaded, ProcessDatabase
from core.ids import RunId
from db.transactions import tenant_tx
from rest.api_keys import Reader
from rest.idempotency import answer_once
from rest.json_values import StorableFields
from rest.problems import problem_responses

router = APIRouter(prefix="/threads", responses=problem_responses(400, 401, 403, 503))

LIMIT_DEFAULT = 10
LIMIT_MAX = 100
OFFSET_MAX = 10_000
IDS_MAX = 1_000

ThreadField: TypeAlias = Literal[
    "thread_id", "created_at", "updated_at", "metadata", "status", "values", "interrupts", "config", "context"
]


#: What no thread is.
NOTHING = ThreadFilter(ids=[])


class ThreadCount(BaseModel):
    """Which threads are counted."""

    model_config = ConfigDict(extra="forbid")

    status: ThreadStatus | None = None
    metadata: StorableFields | None = Field(
        default=None, description="What it must hold: `graph_id`, `assistant_id`, `conversation_id`, `kind`"
    )
    values: Annotated[
        NoFields | None, only([None, {}], why="threads are not found by their state; use metadata and status")
    ] = None

    def wanted(self, ids: list[str] | None = None) -> ThreadFilter:
        """The same for the rows, which know graphs by their names."""
        from graphs.registry import GRAPHS

        asked = dict(self.metadata or {})
        if "assistant_id" in asked:
            meant = asked.pop("assistant_id")
            graph = next((name for name in GRAPHS if assistant_id_of(name) == meant), None)
            if asked.setdefault("graph_id", graph) != graph:
                return NOTHING
        told = {name: value for name, value in asked.items() if name in ("graph_id", "conversation_id", "kind")}
        if told != asked or not all(isinstance(value, str) for value in told.values()):
            return NOTHING
        return ThreadFilter(status=self.status, ids=ids, **cast("dict[str, Any]", told))


class ThreadSearch(ThreadCount):
    """Which threads are listed, and in which order."""

    ids: list[ThreadId] | None = Field(default=None, max_length=IDS_MAX)
    limit: WholeNumber = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    offset: WholeNumber = Field(default=0, ge=0, le=OFFSET_MAX)
    sort_by: ThreadSortBy = "created_at"
    sort_order: SortOrder = "desc"
    select: list[ThreadField] | None = Field(default=None, description="Without `values` and `interrupts` it is fast")
    extract: Annotated[NoFields | None, only([None, {}], why="nothing is extracted; select `values`")] = None


@router.post("/search", summary="List threads")
async def search_threads(
    asked: ThreadSearch, key: Reader, database: ProcessDatabase, graphs: GraphsLoaded
) -> list[Thread]:
    """Conversations, and runs that wait, fork or replay: each is a thread. The newest come first."""
    del graphs
    async with tenant_tx(database, key.tenant_id, commit="agent.threads") as connection:
        rows = await list_threads(
            connection, asked.wanted(asked.ids), limit=asked.limit, offset=asked.offset,
            sort_by=asked.sort_by, sort_order=asked.sort_order,
        )  # fmt: skip
    found = [await thread_of(database, key.tenant_id, row, fields=asked.select) for row in rows]
    return selected(found, asked.select)


@router.post("/count", summary="Count threads")
async def get_count(asked: ThreadCount, key: Reader, database: ProcessDatabase, graphs: GraphsLoaded) -> int:
    """How many threads a search would find."""
    del graphs
    async with tenant_tx(database, key.tenant_id, commit="agent.thread_count") as connection:
        return await count_threads(connection, asked.wanted())


@router.get("/{thread_id}", summary="One thread", responses=problem_responses(404))
async def get_thread(thread_id: ThreadPath, key: Reader, database: ProcessDatabase) -> Thread:
    """One thread of this tenant, with its latest values and its open questions."""
    async with tenant_tx(database, key.tenant_id, commit="agent.thread") as connection:
        row = await find_thread(connection, thread_id)
    return await thread_of(database, key.tenant_id, row)


@router.post("/{thread_id}/copy", summary="Copy a thread, dry", responses=problem_responses(404, 409))
async def copy_thread(thread_id: ThreadPath, caller: Annotated[Caller, Depends()], response: Response) -> Thread:
    """A new thread on which the last run is repeated from its start: it acts on nothing and nothing of it leaves.

    Where that run was answered, so is its copy; where it waits, the copy ends.
    """
    from graphs.fork_commands import replay

    async def act() -> Begun:
        thread = await find_thread(connection, thread_id)
        run_id = await replay(connection, RunId(thread["run_id"]), by=caller.key.id)
        return Begun(run_id=run_id, thread_id=run_id, after=-1)

    tenant_id = caller.key.tenant_id
    async with tenant_tx(caller.database, tenant_id, commit="agent.copy_thread") as connection:
        answer = await answer_once(connection, caller.acting, act)
        begun = Begun.model_validate_json(bytes(answer.body))
        row = await find_thread(connection, begun.thread_id)
    caller.ring()
    response.headers.update(begun.headers)
    return await thread_of(caller.database, tenant_id, row)
