import asyncio
import hashlib
import json

import pytest
from pydantic import BaseModel

from core.errors import Conflict
from core.ids import TenantId
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from rest.idempotency import KEPT_D, RequestToAct, answer_once, forget_answers
from tests.builders import rows


class Made(BaseModel):
    """What an act of these tests answers."""

    zebra: int
    ant: str


def a_request(key: str | None = "once", *, route: str = "POST /v1/things", body: bytes = b"{}") -> RequestToAct:
    return RequestToAct(key, route, hashlib.sha256(body).digest())


async def ask(database: Database, tenant_id: TenantId, request: RequestToAct, number: int = 1) -> tuple[int, bytes]:
    """Status and body of one request."""

    async def act() -> Made:
        return Made(zebra=number, ant="first")

    async with tenant_tx(database, tenant_id, commit="test") as connection:
        answer = await answer_once(connection, request, act, status=201)
    return answer.status_code, bytes(answer.body)


async def test_without_a_key_every_request_acts(database: Database, tenant: TenantId) -> None:
    assert await ask(database, tenant, a_request(None)) == (201, b'{"zebra":1,"ant":"first"}')
    assert await ask(database, tenant, a_request(None), 2) == (201, b'{"zebra":2,"ant":"first"}')
    assert await rows(database, tenant, "SELECT FROM core.idempotency_keys") == []


async def test_the_first_answer_is_given_again_to_the_letter(database: Database, tenant: TenantId) -> None:
    first = await ask(database, tenant, a_request())
    assert await ask(database, tenant, a_request(), 2) == first


@pytest.mark.parametrize("other", [a_request(body=b"[]"), a_request(route="POST /v1/others")])
async def test_another_request_under_the_key_is_refused(
    database: Database, tenant: TenantId, other: RequestToAct
) -> None:
    await ask(database, tenant, a_request())
    with pytest.raises(Conflict, match="another request"):
        await ask(database, tenant, other)


async def test_a_request_that_is_still_at_work_is_not_begun_again(database: Database, tenant: TenantId) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def act() -> Made:
        begun.set()
        await go_on.wait()
        return Made(zebra=1, ant="slow")

    async def slow() -> bytes:
        async with tenant_tx(database, tenant, commit="test") as connection:
            return bytes((await answer_once(connection, a_request(), act)).body)

    task = asyncio.create_task(slow())
    await begun.wait()
    with pytest.raises(Conflict, match="still at work"):
        await ask(database, tenant, a_request())
    go_on.set()
    first = await task
    assert (await ask(database, tenant, a_request(), 2))[1] == first


async def test_an_act_that_was_undone_left_no_answer(database: Database, tenant: TenantId) -> None:
    async def act() -> Made:
        raise Conflict("not now")

    with pytest.raises(Conflict, match="not now"):
        async with tenant_tx(database, tenant, commit="test") as connection:
            await answer_once(connection, a_request(), act)

    async def die_before_the_commit() -> None:
        async with tenant_tx(database, tenant, commit="test") as connection:
            await answer_once(connection, a_request(), lambda: _made(1))
            raise ConnectionError("the connection is gone")

    with pytest.raises(ConnectionError):
        await die_before_the_commit()
    assert json.loads((await ask(database, tenant, a_request(), 3))[1])["zebra"] == 3


async def test_answers_are_forgotten_after_a_while(database: Database, tenant: TenantId) -> None:
    for key in ("old", "young"):
        await ask(database, tenant, a_request(key))
    async with queue_tx(database, commit="test") as connection:
        assert await forget_answers(connection) == 0
    async with queue_tx(database, commit="test") as connection:
        assert await forget_answers(connection, days=0) >= 2
    assert await rows(database, tenant, "SELECT key FROM core.idempotency_keys") == []
    assert KEPT_D == 30


async def _made(number: int) -> Made:
    return Made(zebra=number, ant="first")
