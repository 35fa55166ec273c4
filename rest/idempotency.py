"""`Idempotency-Key`: a request that acts may be sent again, and is answered as it was the first time.

The answer is kept in the transaction of the act, so a process that dies in between leaves both or neither. An act that
was refused left nothing behind and is not kept: the same request may succeed later.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from psycopg.types.json import Json
from pydantic import BaseModel

from core.errors import Conflict
from db.pools import Connection

KEY_CHARACTERS_MAX = 255
#: How long the first answer is given again.
KEPT_D = 30
#: Says of an answer that it is the first one, given again.
REPLAYED = {"Idempotency-Replayed": "true"}

#: Held until the act is committed or undone. Of two keys with one hash, one would have to be sent again.
CLAIM = "SELECT pg_try_advisory_xact_lock(hashtextextended(current_user || ' ' || %s, 0)) AS mine"

FIRST = "SELECT route, body_sha256, status, answer FROM core.idempotency_keys WHERE key = %s"

KEEP = """
INSERT INTO core.idempotency_keys (tenant_id, key, route, body_sha256, status, answer)
VALUES (current_user, %(key)s, %(route)s, %(body_sha256)s, %(status)s, %(answer)s)
"""

FORGET = "DELETE FROM core.idempotency_keys WHERE created_at < clock_timestamp() - make_interval(days => %s)"


@dataclass(frozen=True, slots=True)
class RequestToAct:
    """What tells a request that is sent again from another one."""

    #: None: every request acts.
    key: str | None
    route: str
    body_sha256: bytes


async def _request_to_act(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=KEY_CHARACTERS_MAX,
            pattern=r"^[!-~]+$",
            description="Any unique text of yours. The same request under the same key acts once and is answered"
            f" alike for {KEPT_D} days",
        ),
    ] = None,
) -> RequestToAct:
    query = f"?{request.url.query}" if request.url.query else ""
    body = await request.body()
    return RequestToAct(idempotency_key, f"{request.method} {request.url.path}{query}", hashlib.sha256(body).digest())


#: Of a route that acts.
Acting = Annotated[RequestToAct, Depends(_request_to_act)]


async def answer_once(
    connection: Connection, request: RequestToAct, act: Callable[[], Awaitable[BaseModel]], *, status: int = 200
) -> JSONResponse:
    """Act and answer, or give the first answer again. `act` works in the same tenant's transaction.

    Raises:
        Conflict: the key belongs to another request, or its request is at work in this moment.
    """
    if request.key is None:
        return JSONResponse((await act()).model_dump(mode="json"), status)
    claim = await (await connection.execute(CLAIM, (request.key,))).fetchone()
    assert claim is not None
    if not claim["mine"]:
        raise Conflict(f"Idempotency-Key {request.key!r}: its request is still at work; send it again in a moment")
    first = await (await connection.execute(FIRST, (request.key,))).fetchone()
    if first is not None:
        if (first["route"], bytes(first["body_sha256"])) != (request.route, request.body_sha256):
            raise Conflict(f"Idempotency-Key {request.key!r} belongs to another request; take a new one")
        return JSONResponse(first["answer"], first["status"], headers=REPLAYED)
    answer = (await act()).model_dump(mode="json")
    kept = {"key": request.key, "route": request.route, "body_sha256": request.body_sha256, "status": status}
    await connection.execute(KEEP, kept | {"answer": Json(answer)})
    return JSONResponse(answer, status)


async def forget_answers(connection: Connection, *, days: int = KEPT_D) -> int:
    """Let go of answers that are older than `days`; gives how many. Needs `queue_tx`."""
    return (await connection.execute(FORGET, (days,))).rowcount
