"""A run as it goes, told as server-sent events from the record of its steps; so it can be told again at any time.

The id of an event is twice the position of its step, and one more for the state after it. Whoever was cut off names
the last id that came, and is told what followed. -1 stands before the first step.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from psycopg.rows import DictRow
from pydantic import JsonValue
from pydantic_core import to_json

from api.agent.beginning import Caller
from api.agent.run_request import STREAM_MODES, RunRequest, StreamMode, ThreadPath
from api.agent.snapshots import StateReader, open_interrupts, read_states
from api.agent.waiters import CutOff, ProcessWaiters, WaitingResponse
from api.agent.waiting import DEFECT, KEEP_ALIVE_S, Joiner, Look, looks
from core.errors import ChowkError, NotFound, RequestInvalid
from core.ids import TenantId
from core.log import logger
from db.pools import Database
from rest.problems import problem_responses

log = logger(__name__)

router = APIRouter(responses=problem_responses(400, 401, 403, 404, 503))

MEDIA_TYPE = "text/event-stream"
STREAMED: dict[int | str, dict[str, Any]] = {  # Any: FastAPI's own type
    200: {
        "description": "`metadata`, then `updates` and `values` of each step, `error` where it failed, `end`",
        "content": {MEDIA_TYPE: {"schema": {}}},
    }
}
HEARTBEAT = b": heartbeat\n\n"
#: Stands before the first event.
BEFORE_ALL = -1
NUMBER_MAX = 2**31


@dataclass(frozen=True, slots=True)
class Telling:
    """What is told of a run, and behind which event."""

    run_id: str
    thread_id: str
    modes: frozenset[StreamMode]
    subgraphs: bool
    after: int

    @property
    def headers(self) -> dict[str, str]:
        """Where the client goes on when it was cut off. It puts the path before these by itself."""
        run = f"/threads/{self.thread_id}/runs/{self.run_id}"
        query = [("stream_mode", mode) for mode in sorted(self.modes)]
        query += [("stream_subgraphs", "true")] if self.subgraphs else []
        return {"location": f"{run}/stream?{urlencode(query)}", "content-location": run}


@router.post(
    "/threads/{thread_id}/runs/stream",
    summary="Let it go on and tell what happens",
    response_class=StreamingResponse,
    responses=STREAMED | problem_responses(409),
)
async def stream_new_run(
    thread_id: ThreadPath, asked: RunRequest, caller: Annotated[Caller, Depends()], waiters: ProcessWaiters
) -> WaitingResponse:
    """What `create` does, then each step as it is taken, until the run ends or waits."""
    waiters.check()
    begun = await caller.begin(thread_id, asked)
    telling = Telling(
        run_id=begun.run_id,
        thread_id=begun.thread_id,
        modes=asked.modes,
        subgraphs=asked.stream_subgraphs,
        after=2 * begun.after + 1,
    )
    events = told(caller.database, caller.key.tenant_id, telling)
    return WaitingResponse(events, waiters, headers=telling.headers, media_type=MEDIA_TYPE)


@router.get(
    "/threads/{thread_id}/runs/{run_id}/stream",
    summary="Tell what happens",
    response_class=StreamingResponse,
    responses=STREAMED,
)
async def join_stream(
    joiner: Annotated[Joiner, Depends()],
    *,
    stream_mode: Annotated[
        list[StreamMode | Literal[""]] | None, Query(description="Both, where none is named")
    ] = None,
    stream_subgraphs: Annotated[bool, Query(description="The steps inside agents too")] = False,
    cancel_on_disconnect: Annotated[bool, Query(description="A run goes on when its caller goes away")] = False,
    last_event_id: Annotated[
        int, Header(ge=BEFORE_ALL, lt=NUMBER_MAX, description="The last event that came; -1, and none, for all")
    ] = BEFORE_ALL,
) -> WaitingResponse:
    """Each step of a run from its first on, or from behind the last event that came, until it ends or waits."""
    if cancel_on_disconnect:
        raise RequestInvalid("cancel_on_disconnect: a run goes on when its caller goes away; cancel it by runs.cancel")
    await joiner.check()
    telling = Telling(
        run_id=joiner.run_id,
        thread_id=joiner.thread_id,
        modes=frozenset(mode for mode in stream_mode or () if mode) or frozenset(STREAM_MODES),
        subgraphs=stream_subgraphs,
        after=last_event_id,
    )
    events = told(joiner.database, joiner.key.tenant_id, telling)
    return WaitingResponse(events, joiner.waiters, headers=telling.headers, media_type=MEDIA_TYPE)


async def told(database: Database, tenant_id: TenantId, telling: Telling) -> AsyncGenerator[bytes, None]:
    """The events of a run behind `telling.after`, until it stands still; an empty one for each look that brings none.

    Where the time is over, the stream ends without its `end`, and the client asks for the rest by itself.

    Raises:
        CutOff: the database went away when a state was to be read.
    """
    loop = asyncio.get_running_loop()
    said_at = loop.time()
    try:
        async for event in _events(database, tenant_id, telling):
            is_silent = not event and loop.time() - said_at >= KEEP_ALIVE_S
            said_at = loop.time() if event or is_silent else said_at
            yield HEARTBEAT if is_silent else event
    except ChowkError as error:
        if error.retryable:
            raise CutOff from error
        yield _event("error", {"error": error.code, "message": error.message})
    except Exception:  # the edge of a response that has begun: cut off, the client would ask for the same for ever
        log.exception("stream_failed", run_id=telling.run_id)
        yield _event("error", DEFECT)


async def _events(database: Database, tenant_id: TenantId, telling: Telling) -> AsyncGenerator[bytes, None]:
    """Each event, after an empty one for each look."""
    after = (telling.after - 1) // 2  # a step whose state did not come yet is read again
    storyteller: _Storyteller | None = None
    async for seen in looks(database, tenant_id, telling.run_id, thread_id=telling.thread_id, after=after):
        yield b""
        if seen is None:
            continue
        if storyteller is None:
            storyteller = _Storyteller(telling, await _reader(database, tenant_id, seen, telling))
            yield storyteller.beginning(seen)
        async for event in storyteller.steps(seen):
            yield event
        if seen.stands:
            async for event in storyteller.end(seen):
                yield event


@dataclass(frozen=True, slots=True)
class _Storyteller:
    """Puts steps into events."""

    telling: Telling
    #: None where no state is asked for, or none can be read.
    reader: StateReader | None

    def beginning(self, seen: Look) -> bytes:
        run = seen.run
        return _event("metadata", {"run_id": run["id"], "attempt": run["attempts"]}, number=self.telling.after)

    async def steps(self, seen: Look) -> AsyncGenerator[bytes, None]:
        # Steps that were taken at once share the state after them.
        last_at = {step["checkpoint_id"]: step["position"] for step in seen.steps}
        for step in seen.steps:
            number = 2 * step["position"]
            if number > self.telling.after and self._is_told(step):
                yield _event(_name("updates", step), {step["node"]: _shown(step["state_diff"])}, number=number)
            if number + 1 > self.telling.after and last_at[step["checkpoint_id"]] == step["position"]:
                values = await self._values(seen, step["checkpoint_id"])
                if values is not None:
                    yield _event("values", values, number=number + 1)

    async def end(self, seen: Look) -> AsyncGenerator[bytes, None]:
        run = seen.run
        if run["state"] == "waiting":
            asks = {"__interrupt__": open_interrupts(run)}
            if "updates" in self.telling.modes:
                yield _event("updates", asks)
            if self.reader is not None:
                state = await self.reader.final(run["thread_id"], run["id"])
                yield _event("values", state.get("values", {}) | asks)
        if seen.failure is not None:
            yield _event("error", seen.failure)
        yield _event("end", {"run_id": run["id"], "status": seen.status})

    def _is_told(self, step: DictRow) -> bool:
        nested = bool(step["namespace"])
        return "updates" in self.telling.modes and step["error"] is None and (self.telling.subgraphs or not nested)

    async def _values(self, seen: Look, checkpoint_id: str | None) -> dict[str, JsonValue] | None:
        """The state after a step; None where it is not asked for or not kept."""
        if self.reader is None or checkpoint_id is None:
            return None
        try:
            return (await self.reader.state(seen.run["thread_id"], checkpoint_id)).get("values", {})
        except NotFound:
            return None


async def _reader(database: Database, tenant_id: TenantId, seen: Look, telling: Telling) -> StateReader | None:
    if "values" not in telling.modes:
        return None
    try:
        return await read_states(database, tenant_id, seen.run["graph"])
    except NotFound:  # the graph is no longer known; its steps still are
        return None


def _name(mode: StreamMode, step: DictRow) -> str:
    return "|".join([mode, *filter(None, step["namespace"].split("/"))])


def _event(name: str, told_of_it: Mapping[str, Any], *, number: int | None = None) -> bytes:  # Any: JSON
    end = b"" if number is None else f"id: {number}\n".encode()
    return f"event: {name}\n".encode() + b"data: " + to_json(told_of_it, inf_nan_mode="null") + b"\n" + end + b"\n"


def _shown(diff: Any) -> Any:  # Any: JSON
    """What a step wrote, with messages as the protocol has them: the record keeps each under the name of its type."""
    if isinstance(diff, dict) and isinstance(diff.get("messages"), list):
        return diff | {"messages": [_message(one) for one in diff["messages"]]}
    return diff


def _message(recorded: Any) -> Any:  # Any: JSON
    if isinstance(recorded, dict) and recorded.keys() == {"type", "data"}:
        return {"type": recorded["type"], **recorded["data"]}
    return recorded
