"""Waiting for a run that a worker advances: its row is looked at again and again, and no transaction is held meanwhile.

A caller that goes away ends the waiting and nothing else; the run goes on.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from psycopg.rows import DictRow
from pydantic import JsonValue
from pydantic_core import to_json

from api.agent.run_request import RunPath, ThreadPath
from api.agent.shapes import STATUS_OF, RunStatus
from api.agent.snapshots import open_interrupts, read_states
from api.agent.waiters import CutOff, ProcessWaiters
from api.state import ProcessDatabase
from checkpoints.operations import ENDED, find_run, steps_of
from core.errors import ChowkError, NotFound
from core.ids import TenantId
from core.log import logger
from db.pools import Connection, Database
from db.transactions import tenant_tx
from rest.api_keys import Reader

log = logger(__name__)

#: A look takes about a millisecond of the database. Where nothing happens, looks become rarer.
LOOK_AGAIN_S = 0.1
LOOK_AGAIN_S_MAX = 0.5
RARER = 1.25
#: Shorter than what proxies take for silence.
KEEP_ALIVE_S = 10.0
WAIT_S_MAX = 1_800.0

#: What is told of a defect once an answer has begun.
DEFECT = {"error": "broken", "message": "an error of ours, which is logged"}

RUN = """
SELECT id, thread_id, graph, state, outcome, error, attempts, interrupts,
       ARRAY(SELECT interrupt_id FROM core.run_commands c
             WHERE c.run_id = r.id AND c.interrupt_id IS NOT NULL) AS answered
FROM core.runs r WHERE id = %(run_id)s AND thread_id = %(thread_id)s
"""


@dataclass(frozen=True, slots=True)
class Look:
    """A run at one moment: its row, and the steps that were recorded since the last look."""

    run: DictRow
    steps: list[DictRow]

    @property
    def stands(self) -> bool:
        """Whether no worker has anything to do with it."""
        return self.run["state"] in ENDED or self.run["state"] == "waiting"

    @property
    def status(self) -> RunStatus:
        """What the protocol calls its state."""
        return STATUS_OF[self.run["state"]]

    @property
    def failure(self) -> dict[str, JsonValue] | None:
        """Why there is no result; None where there is one."""
        run = self.run
        if run["state"] == "cancelled":
            return {"error": "cancelled", "message": f"run {run['id']} was {run['outcome'] or 'cancelled'}"}
        if run["state"] in ("failed", "dead"):
            return {"error": run["state"], "message": run["error"] or f"run {run['id']} has {run['outcome']}"}
        return None


async def find_run_on(connection: Connection, thread_id: str, run_id: str) -> DictRow:
    """A run's whole row.

    Raises:
        NotFound: there is no such run on this thread.
    """
    run = await find_run(connection, run_id)
    if run["thread_id"] != thread_id:
        raise _no_run(thread_id, run_id)
    return run


async def look(
    database: Database, tenant_id: TenantId, run_id: str, *, thread_id: str, after: int | None = None
) -> Look:
    """One look at a run of this thread, and at its steps behind the position `after`, or at none.

    Raises:
        NotFound: there is no such run on this thread.
        DatabaseUnavailable: the database did not answer.
    """
    async with tenant_tx(database, tenant_id, commit="agent.look") as connection:
        # The row first: once it says that the run has ended, every step of it stands.
        keys = {"run_id": run_id, "thread_id": thread_id}
        run = await (await connection.execute(RUN, keys)).fetchone()
        if run is None:
            raise _no_run(thread_id, run_id)
        return Look(run, [] if after is None else await steps_of(connection, run_id, after=after))


async def looks(
    database: Database, tenant_id: TenantId, run_id: str, *, thread_id: str, after: int | None = None
) -> AsyncGenerator[Look | None, None]:
    """Look at a run until it stands still, or for `WAIT_S_MAX`; each look brings the steps since the last one.

    None is a look that the database did not answer; it is waited for.

    Raises:
        NotFound: there is no such run on this thread.
    """
    loop = asyncio.get_running_loop()
    until, wait_s = loop.time() + WAIT_S_MAX, LOOK_AGAIN_S
    while loop.time() < until:
        seen = None
        try:
            seen = await look(database, tenant_id, run_id, thread_id=thread_id, after=after)
        except ChowkError as error:
            if not error.retryable:
                raise
        yield seen
        if seen is not None and seen.stands:
            return
        if seen is not None and seen.steps:
            after, wait_s = seen.steps[-1]["position"], LOOK_AGAIN_S
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * RARER, LOOK_AGAIN_S_MAX)


async def result_body(
    database: Database, tenant_id: TenantId, run_id: str, *, thread_id: str
) -> AsyncGenerator[bytes, None]:
    """The JSON of what a run came to, once it stands still; until then line breaks, which JSON may begin with.

    Raises:
        CutOff: the database went away when the result was to be read.
    """
    loop = asyncio.get_running_loop()
    said_at, last = loop.time(), None
    # Where to join again stands in the headers, and those leave with the first byte.
    yield b"\n"
    try:
        async for seen in looks(database, tenant_id, run_id, thread_id=thread_id):
            last = seen
            is_silent = loop.time() - said_at >= KEEP_ALIVE_S
            said_at = loop.time() if is_silent else said_at
            yield b"\n" if is_silent else b""
        result = await _result(database, tenant_id, last)
    except ChowkError as error:
        if error.retryable:
            raise CutOff from error
        result = {"__error__": {"error": error.code, "message": error.message}}
    except Exception:  # the edge of a response that has begun: cut off, the client would ask for the same again
        log.exception("join_failed", run_id=run_id)
        result = {"__error__": DEFECT}
    yield to_json(result, inf_nan_mode="null")


async def end_body(
    database: Database, tenant_id: TenantId, run_id: str, *, thread_id: str
) -> AsyncGenerator[bytes, None]:
    """The JSON null, once a run stands still; until then line breaks."""
    async for chunk in result_body(database, tenant_id, run_id, thread_id=thread_id):
        yield b"null" if chunk.strip() else chunk


async def _result(database: Database, tenant_id: TenantId, seen: Look | None) -> dict[str, Any]:  # Any: JSON
    if seen is None or not seen.stands:
        return {"__error__": {"error": "timeout", "message": f"it did not end within {WAIT_S_MAX:g} s; join it again"}}
    if seen.failure is not None:
        return {"__error__": seen.failure}
    values = await final_values(database, tenant_id, seen.run)
    return values | ({"__interrupt__": open_interrupts(seen.run)} if seen.run["state"] == "waiting" else {})


async def final_values(database: Database, tenant_id: TenantId, run: DictRow) -> dict[str, JsonValue]:
    """The values that a run ended with; empty where its checkpoints are no longer kept.

    Raises:
        NotFound: there is no such graph any more.
        DatabaseUnavailable: the database did not answer.
    """
    reader = await read_states(database, tenant_id, run["graph"])
    return (await reader.final(run["thread_id"], run["id"])).get("values", {})


def _no_run(thread_id: str, run_id: str) -> NotFound:
    return NotFound(f"thread {thread_id!r} has no run {run_id!r}; runs.list tells which it has")


@dataclass(frozen=True, slots=True)
class Joiner:
    """Who joins which run."""

    key: Reader
    thread_id: ThreadPath
    run_id: RunPath
    database: ProcessDatabase
    waiters: ProcessWaiters

    async def check(self) -> None:
        """See that there is such a run and room to wait for it, before anything is answered.

        Raises:
            NotFound: there is no such run on this thread.
            Overloaded: too many wait here already.
        """
        self.waiters.check()
        await look(self.database, self.key.tenant_id, self.run_id, thread_id=self.thread_id)
