"""What stands in checkpoints, read through the graph that wrote them. Nothing is advanced here.

LangGraph is imported when the first state is read, so its types are unknown to this module.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import DictRow
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from api.agent.shapes import Checkpoint, Interrupt, Task, Thread, ThreadState, assistant_id_of
from api.agent.thread_rows import no_checkpoint
from api.state import load_graphs
from checkpoints.operations import open_questions
from core.errors import NotFound
from core.ids import TenantId
from db.pools import Database
from db.transactions import DatabaseUnavailable
from graphs.inspection import answer_schema


@dataclass(frozen=True, slots=True)
class StateReader:
    """Reads the states of threads of one graph, inside one tenant."""

    graph_name: str
    #: LangGraph's compiled graph over a saver of this tenant.
    graph: Any

    async def state(self, thread_id: str, checkpoint_id: str | None = None) -> ThreadState:
        """The state at a checkpoint, or the latest one; empty where a thread has none yet or none any more.

        Raises:
            NotFound: the thread has no such checkpoint.
            DatabaseUnavailable: the database did not answer.
        """
        async with _answering():
            snapshot = await self.graph.aget_state(_config(thread_id, checkpoint_id))
        if checkpoint_id is not None and snapshot.metadata is None:
            raise no_checkpoint(thread_id, checkpoint_id)
        return self._shown(thread_id, snapshot)

    async def history(
        self,
        thread_id: str,
        *,
        limit: int,
        before: str | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> list[ThreadState]:
        """The states that are kept, the latest first: those before a checkpoint, and with this in their metadata.

        Raises:
            DatabaseUnavailable: the database did not answer.
        """
        async with _answering():
            snapshots = self.graph.aget_state_history(
                _config(thread_id),
                filter=None if metadata is None else dict(metadata),
                before=None if before is None else _config(thread_id, before),
                limit=limit,
            )
            return [self._shown(thread_id, snapshot) async for snapshot in snapshots]

    async def final(self, thread_id: str, run_id: str) -> ThreadState:
        """The last state of one run of a thread; empty where it is no longer kept.

        Raises:
            DatabaseUnavailable: the database did not answer.
        """
        kept = await self.history(thread_id, limit=1, metadata={"run_id": run_id})
        return kept[0] if kept else ThreadState(values={}, interrupts=[])

    def _shown(self, thread_id: str, snapshot: Any) -> ThreadState:  # Any: LangGraph's
        tasks = [self._task(task) for task in snapshot.tasks]
        return ThreadState(
            values=_json(snapshot.values or {}),
            next=list(snapshot.next),
            checkpoint=_checkpoint(thread_id, snapshot.config),
            metadata=_json(snapshot.metadata or {}),
            created_at=snapshot.created_at,
            parent_checkpoint=None
            if snapshot.parent_config is None
            else _checkpoint(thread_id, snapshot.parent_config),
            tasks=tasks,
            interrupts=[one for task in tasks for one in task["interrupts"]],
        )

    def _task(self, task: Any) -> Task:  # Any: LangGraph's
        return Task(
            id=task.id,
            name=task.name,
            error=None if task.error is None else str(task.error),
            interrupts=[interrupt_of(self.graph_name, one.id, one.value) for one in task.interrupts],
            checkpoint=None,
            state=None,
            result=_json(task.result),
        )


async def read_states(database: Database, tenant_id: TenantId, graph_name: str) -> StateReader:
    """A reader of the states of this graph's threads. Whose threads they are was asked before.

    Raises:
        NotFound: there is no such graph any more.
    """
    await load_graphs()
    from checkpoints.saver import refuse_permissive_serialisation, tenant_saver
    from graphs.registry import graph_named

    refuse_permissive_serialisation()
    registered = graph_named(graph_name)
    await asyncio.to_thread(registered.build, None)  # the first time of a process it is compiled
    return StateReader(graph_name, registered.build(tenant_saver(database, tenant_id)))


def interrupt_of(graph_name: str, interrupt_id: str, question: Mapping[str, Any]) -> Interrupt:  # Any: JSON
    """A question as the protocol has it, with what its answer must look like where its graph still asks it."""
    told = {name: value for name, value in question.items() if name != "id"}
    interrupt = Interrupt(id=interrupt_id, value=told)
    schema = answer_schema(graph_name, str(question.get("slot")))
    if schema is not None:
        interrupt["response_schema"] = schema
    return interrupt


def open_interrupts(row: DictRow) -> list[Interrupt]:
    """The questions of a run's row that nobody has answered yet. The row tells who `answered` which."""
    answers = [{"interrupt_id": interrupt_id} for interrupt_id in row["answered"]]
    return [interrupt_of(row["graph"], question["id"], question) for question in open_questions(row, answers)]


async def thread_of(
    database: Database, tenant_id: TenantId, row: DictRow, *, fields: Sequence[str] | None = None
) -> Thread:
    """A thread's row as the protocol has it. Its checkpoint is read only if one of `fields` stands there.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    thread = Thread(
        thread_id=row["thread_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        metadata={
            "graph_id": row["graph"],
            "assistant_id": assistant_id_of(row["graph"]),
            "conversation_id": row["conversation_id"],
            "kind": row["kind"],
        },
        status=row["status"],
        values={},
        interrupts={},
    )
    if fields is not None and not {"values", "interrupts"} & set(fields):
        return thread
    try:
        reader = await read_states(database, tenant_id, row["graph"])
    except NotFound:  # what nobody can read any more is still listed
        return thread
    state = await reader.state(row["thread_id"])
    thread["values"] = state.get("values", {})
    thread["interrupts"] = _by_task(state.get("tasks", []), {one["id"] for one in open_interrupts(row)})
    return thread


def _by_task(tasks: Iterable[Task], open_ids: set[str]) -> dict[str, list[Interrupt]]:
    asking = {task["id"]: [one for one in task["interrupts"] if one["id"] in open_ids] for task in tasks}
    return {task_id: interrupts for task_id, interrupts in asking.items() if interrupts}


def _config(thread_id: str, checkpoint_id: str | None = None) -> dict[str, dict[str, str]]:
    name = {"thread_id": thread_id, "checkpoint_ns": ""}
    return {"configurable": name if checkpoint_id is None else name | {"checkpoint_id": checkpoint_id}}


def _checkpoint(thread_id: str, config: Mapping[str, Any]) -> Checkpoint:  # Any: LangGraph's
    configurable = config["configurable"]
    return Checkpoint(
        thread_id=thread_id,
        checkpoint_ns=configurable.get("checkpoint_ns", ""),
        checkpoint_id=configurable.get("checkpoint_id"),
        checkpoint_map=None,
    )


def _json(value: Any) -> Any:  # Any: JSON and messages in, JSON out
    """A part of the state as plain JSON; a message becomes the object that the protocol has for it."""
    return to_jsonable_python(value, inf_nan_mode="null", serialize_unknown=True)


@asynccontextmanager
async def _answering() -> AsyncGenerator[None, None]:
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseUnavailable(
            f"no checkpoint could be read: {str(error).strip() or type(error).__name__}"
        ) from error
