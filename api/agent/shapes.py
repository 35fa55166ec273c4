"""The shapes that the agent protocol speaks in, and our graphs and runs in them. They are `langgraph_sdk.schema`'s.

Of a listing a caller may select some fields, so none of them is promised.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypeVar, cast
from uuid import UUID, uuid5

from psycopg.rows import DictRow
from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from rest.times import UtcTime

RunStatus: TypeAlias = Literal["pending", "running", "error", "success", "timeout", "interrupted"]
ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]

#: The protocol has no word for a run that somebody cancelled but `interrupted`, which is also its word for one that
#: waits for an answer; `cancel_reason` tells them apart. It knows a time limit, which no run of ours has.
STATUS_OF: Mapping[str, RunStatus] = MappingProxyType(
    {
        "queued": "pending",
        "running": "running",
        "waiting": "interrupted",
        "succeeded": "success",
        "failed": "error",
        "dead": "error",
        "cancelled": "interrupted",
    }
)

#: Under which the makers of the protocol name the assistant that every graph has from the start.
NAMESPACE = UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")


class Checkpoint(TypedDict):
    """The name of a state. `checkpoint_id` is null for the latest one of its thread."""

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str | None
    checkpoint_map: dict[str, JsonValue] | None


class Interrupt(TypedDict):
    """A question that a thread waits to have answered: `command.resume` takes `{id: answer}`."""

    id: str
    value: JsonValue
    response_schema: NotRequired[Annotated[dict[str, JsonValue], Field(description="JSON schema of an answer")]]


class Task(TypedDict):
    """A node that is next, or that asks."""

    id: str
    name: str
    error: str | None
    interrupts: list[Interrupt]
    checkpoint: Checkpoint | None
    state: None
    result: JsonValue


class ThreadState(TypedDict, total=False):
    """What stood in a thread after one step."""

    values: dict[str, JsonValue]
    next: list[str]
    checkpoint: Checkpoint
    metadata: dict[str, JsonValue]
    created_at: str | None
    parent_checkpoint: Checkpoint | None
    tasks: list[Task]
    interrupts: list[Interrupt]


class Thread(TypedDict, total=False):
    """A conversation's turns one after the other, or one run that waits, forks or replays."""

    thread_id: str
    created_at: UtcTime
    updated_at: UtcTime
    metadata: dict[str, JsonValue]
    status: ThreadStatus
    values: dict[str, JsonValue]
    interrupts: Annotated[dict[str, list[Interrupt]], Field(description="Open questions, by the task that asks")]


class Run(TypedDict, total=False):
    """One run of a graph on a thread."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: UtcTime
    updated_at: UtcTime
    status: RunStatus
    metadata: Annotated[dict[str, JsonValue], Field(description="Among it our own `state`, `outcome` and `error`")]
    kwargs: dict[str, JsonValue]
    multitask_strategy: Annotated[Literal["enqueue"], Field(description="Runs of a conversation wait for each other")]
    cancel_reason: str | None


class Assistant(TypedDict, total=False):
    """A graph. Its version is that of the graph, and it takes no settings."""

    assistant_id: str
    graph_id: str
    name: str
    description: str | None
    config: dict[str, JsonValue]
    context: dict[str, JsonValue]
    metadata: dict[str, JsonValue]
    version: int
    created_at: Annotated[UtcTime, Field(description="The epoch: a graph comes with the release and has no date")]
    updated_at: UtcTime


class GraphSchemas(TypedDict):
    """What goes into a graph and what comes out, as JSON schemas."""

    graph_id: str
    input_schema: dict[str, JsonValue]
    output_schema: dict[str, JsonValue]
    state_schema: dict[str, JsonValue]
    config_schema: dict[str, JsonValue]
    context_schema: dict[str, JsonValue]


Selectable = TypeVar("Selectable", Assistant, Thread, Run)


def assistant_id_of(graph: str) -> str:
    """The id of the assistant that a graph is."""
    return str(uuid5(NAMESPACE, graph))


def states_of(status: RunStatus) -> list[str]:
    """Our states of runs that the protocol calls this."""
    return [state for state, called in STATUS_OF.items() if called == status]


def run_of(row: DictRow) -> Run:
    """A run's row, with its `input` where the row has it."""
    told = ("state", "outcome", "error", "kind", "parent_id", "conversation_id", "dry_run", "attempts", "graph_version")
    metadata: dict[str, JsonValue] = {name: row[name] for name in told}
    assistant_id = assistant_id_of(row["graph"])
    configurable = {
        "thread_id": row["thread_id"], "run_id": row["id"], "graph_id": row["graph"], "assistant_id": assistant_id
    }  # fmt: skip
    kwargs: dict[str, JsonValue] = {
        "config": {"configurable": cast("dict[str, JsonValue]", configurable)},
        "context": {"dry_run": row["dry_run"]},
    }
    if "input" in row:
        kwargs["input"] = row["input"]
    return Run(
        run_id=row["id"],
        thread_id=row["thread_id"],
        assistant_id=assistant_id,
        created_at=row["created_at"],
        updated_at=_latest(row["created_at"], row["started_at"], row["finished_at"], row["cancel_requested_at"]),
        status=STATUS_OF[row["state"]],
        metadata=metadata | {"graph_id": row["graph"]},
        kwargs=kwargs,
        multitask_strategy="enqueue",
        cancel_reason=row["outcome"] if row["state"] == "cancelled" else None,
    )


def selected(found: Iterable[Selectable], select: Sequence[str] | None) -> list[Selectable]:
    """The same with the fields that were asked for alone; None asks for all."""
    if select is None:
        return list(found)
    return [
        cast("Selectable", {name: value for name, value in cast("dict[str, Any]", one).items() if name in select})
        for one in found
    ]  # Any: whatever a field holds


def _latest(*moments: datetime | None) -> datetime:
    return max(moment for moment in moments if moment is not None)
