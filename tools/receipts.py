"""Calls whose answer is needed, each made once: a receipt is committed before the call, its answer after it.

A receipt is `calling` from before the call leaves until the answer is stored, then `done` or `refused` for good. Who
finds a finished one gets what it holds. Who finds one that is `calling` cannot know whether the service has acted, and
asks it again under the same key, which it answers from its own record.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb
from pydantic import JsonValue

from channels.json_body import fingerprint, read_json
from core.errors import Broken, ChowkError, FenceLost, NotFound, ProviderUnclear, RequestInvalid
from core.ids import RunId, TenantId
from core.log import logger
from db.pools import Connection
from db.transactions import tenant_tx
from tools.context import RunContext
from tools.keys import stable_key
from tools.refusals import error_of, is_final, refusal_of

#: A service that has not answered by then may or may not have acted. Clients give up earlier by themselves.
CALL_S_MAX = 30.0

#: The lease cannot be taken over while this transaction lasts: a claim passes over rows that are locked.
OPEN = """
WITH held AS (
  SELECT FROM core.runs r JOIN core.conversation_leases l ON l.conversation_id = r.conversation_id
  WHERE r.id = %(run_id)s AND l.fence = %(fence)s FOR SHARE OF l
), opened AS (
  INSERT INTO core.call_receipts (tenant_id, key, run_id, tool, state, request_sha256)
  SELECT current_user, %(key)s, %(run_id)s, %(tool)s, 'calling', decode(%(request_sha256)s, 'hex') FROM held
  ON CONFLICT DO NOTHING RETURNING 1)
SELECT EXISTS (SELECT FROM held) AS held, EXISTS (SELECT FROM opened) AS opened
"""

STANDING = """
SELECT tool, state, encode(request_sha256, 'hex') AS request_sha256, response
FROM core.call_receipts WHERE tenant_id = current_user AND key = %(key)s
"""

#: The first answer stands: a process that was paused and wakes changes nothing.
STORE = """
UPDATE core.call_receipts SET state = %(state)s, response = %(response)s, finished_at = clock_timestamp()
WHERE tenant_id = current_user AND key = %(key)s AND state = 'calling'
"""

STORED = """
SELECT state, response, EXISTS (
    SELECT FROM core.runs r JOIN core.conversation_leases l ON l.conversation_id = r.conversation_id
    WHERE r.id = %(run_id)s AND l.fence = %(fence)s) AS held
FROM core.call_receipts WHERE tenant_id = current_user AND key = %(key)s
"""

Call: TypeAlias = Callable[[str], Awaitable[JsonValue]]

log = logger(__name__)

_key: ContextVar[str | None] = ContextVar("idempotency_key", default=None)


class CallUnsettled(ProviderUnclear):
    """A call was interrupted, and its service can neither be asked what it did nor be called again safely.

    A person must look there: the receipt that the message names stays `calling`.
    """


class NotRecorded(NotFound):
    """A dry run wants a call that the run it replays did not make, or made with another request. It is not made."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a call, as it is stored."""

    state: Literal["done", "refused"]
    response: JsonValue


def call_key(tenant_id: TenantId, run_id: RunId, *, path: str, step: int, index: int) -> str:
    """The key of one call: 64 hex digits, the same however often its step is taken, whatever ids the model makes up.

    `path` is the path of nodes without ids (`reply/tools`), `step` counts within that namespace (LangGraph's
    `langgraph_step`), `index` is the place of the call in its AIMessage. A node that makes its one call itself passes
    step 0 and index 0: its path says where it is, in every version of its graph.
    A node with an agent inside may be visited once in a run: a second visit has the same path and steps.
    """
    return stable_key(tenant_id, run_id, path, "call", str(step), str(index))


def idempotency_key() -> str:
    """The key of the call that is being made, for its `Idempotency-Key` header or the service's reference field.

    Raises:
        Broken: no call is being made; only a tool of risk `act` has a key.
    """
    key = _key.get()
    if key is None:
        raise Broken("there is no idempotency key here: register the tool with risk `act`")
    return key


async def call_once(
    context: RunContext,
    *,
    key: str,
    tool: str,
    request: Mapping[str, JsonValue],
    call: Call,
    lookup: Call | None = None,
    idempotent: bool = True,
) -> JsonValue:
    """Make a call, or give the answer that an earlier attempt of the same step got; equal each time.

    `call` is given the key, which the service must take as its idempotency key. For a service that takes none, `lookup`
    asks it by key whether it has acted and gives that answer, or None; with neither, say `idempotent=False`, and
    a call that was interrupted is not made again. `request` is compared, not stored. In a dry run nothing is called.

    Raises:
        ProviderRefused, NotFound, …: the service refused; the same each time.
        ProviderUnclear, or an error that may be survived later: it may have acted; take the step again.
        CallUnsettled: it may have acted, and only a person can find out.
        FenceLost: another process holds the conversation by now.
        NotRecorded: this is a dry run and there is no answer to give.
        Broken: the key was used for another request, or the answer is not JSON.
    """
    keys: dict[str, Any] = {  # Any: the values of one row
        "key": key,
        "run_id": context.run_id,
        "fence": context.fence,
        "tool": tool,
        "request_sha256": fingerprint({"tool": tool, "request": dict(request)}),
    }
    if context.dry_run:
        return _given(await _recorded(context, keys))
    match await _open(context, keys):
        case None:
            answer = await _settled(call, key, tool)
        case {"state": "calling"}:
            log.warning("call_asked_again", tool=tool, run_id=context.run_id, key=key)
            answer = await _asked_again(call, key, tool, lookup=lookup, idempotent=idempotent)
        case finished:
            return _given(Answer(finished["state"], finished["response"]))
    return _given(await _store(context, keys, answer))


async def _open(context: RunContext, keys: dict[str, Any]) -> DictRow | None:  # Any: the values of one row
    """Commit a new receipt; gives the one that stands under this key if there is one."""
    async with tenant_tx(context.database, context.tenant_id, commit="receipts.open") as connection:
        outcome = await (await connection.execute(OPEN, keys)).fetchone()
        assert outcome is not None
        if not outcome["held"]:
            raise _fence_lost(context)
        if outcome["opened"]:
            return None
        standing = await _standing(connection, keys)
        assert standing is not None
        if standing["request_sha256"] != keys["request_sha256"]:
            raise Broken(
                f"call {keys['key']} was made as {standing['tool']} with request {standing['request_sha256']} and "
                f"is now wanted as {keys['tool']} with request {keys['request_sha256']}: two calls share a key"
            )
        return standing


async def _recorded(context: RunContext, keys: dict[str, Any]) -> Answer:  # Any: the values of one row
    async with tenant_tx(context.database, context.tenant_id, commit="receipts.read") as connection:
        standing = await _standing(connection, keys)
    match standing:
        case {"state": "done" | "refused" as state, "request_sha256": sha256, "response": response} if (
            sha256 == keys["request_sha256"]
        ):
            return Answer(state, response)
        case _:
            raise NotRecorded(f"no answer of {keys['tool']} to this request is recorded under {keys['key']}")


async def _standing(connection: Connection, keys: dict[str, Any]) -> DictRow | None:  # Any: the values of one row
    return await (await connection.execute(STANDING, keys)).fetchone()


async def _asked_again(call: Call, key: str, tool: str, *, lookup: Call | None, idempotent: bool) -> Answer:
    """Find out about a call that an earlier attempt may have made, and make it if it was not made."""
    if lookup is not None:
        found = await _looked_up(lookup, key, tool)
        if found is not None:
            return Answer("done", _storable(found))
    elif not idempotent:
        raise CallUnsettled(f"{tool} may have acted and cannot be asked: a person must look there, receipt {key}")
    return await _settled(call, key, tool)


async def _looked_up(lookup: Call, key: str, tool: str) -> JsonValue:
    try:
        async with _in_time(tool):
            return await lookup(key)
    except ChowkError as error:
        if not is_final(error):
            raise
        # That the look-up was refused says nothing about the call.
        raise ProviderUnclear(f"{tool} may have acted, and cannot be looked up: {error.message}") from error


async def _settled(call: Call, key: str, tool: str) -> Answer:
    """Make the call; raises unless what became of it is certain."""
    token = _key.set(key)
    try:
        async with _in_time(tool):
            return Answer("done", _storable(await call(key)))
    except ChowkError as error:
        if not is_final(error):
            raise
        return Answer("refused", _storable(refusal_of(error)))
    finally:
        _key.reset(token)


@asynccontextmanager
async def _in_time(tool: str) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(CALL_S_MAX):
            yield
    except TimeoutError as error:
        raise ProviderUnclear(f"{tool} did not answer in {CALL_S_MAX:g} s: it may have acted; ask again") from error


async def _store(context: RunContext, keys: dict[str, Any], answer: Answer) -> Answer:  # Any: values of one row
    """Commit the answer, unless another process has; gives the one that stands, as the database keeps it."""
    values = {"state": answer.state, "response": Jsonb(answer.response)}
    async with tenant_tx(context.database, context.tenant_id, commit="receipts.store") as connection:
        await connection.execute(STORE, keys | values)
        stored = await (await connection.execute(STORED, keys)).fetchone()
        assert stored is not None
    # What the service did is true whoever wrote it down, so it is kept even where the run goes on elsewhere.
    if not stored["held"]:
        raise _fence_lost(context)
    return Answer(stored["state"], stored["response"])


def _fence_lost(context: RunContext) -> FenceLost:
    return FenceLost(f"run {context.run_id} no longer holds its conversation under fence {context.fence}")


def _given(answer: Answer) -> JsonValue:
    if answer.state == "done":
        return answer.response
    raise error_of(answer.response)


def _storable(value: object) -> JsonValue:
    """What the database can hold of an answer: see `channels.json_body` for what it cannot."""
    try:
        return read_json(json.dumps(value).encode())
    except (TypeError, ValueError, RequestInvalid) as error:
        raise Broken(f"an answer of type {type(value).__name__} cannot be stored as JSON: {error}") from error
