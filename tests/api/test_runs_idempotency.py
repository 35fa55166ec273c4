"""The same request under the same key acts once, over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.crypto import Sealer
from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.operating import Operator, operating
from tests.conftest import Stack

LEAVE = {"answer": {"action": "leave"}}


@pytest.fixture
async def operator(api: RunningApi, stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[Operator]:
    async with operating(api, stack, database, sealer) as made:
        yield made


async def test_an_answer_that_is_sent_again_is_given_once_and_answered_alike(operator: Operator) -> None:
    _, waiting = await operator.scene.handed_off()
    first = await operator.post(f"{waiting.run_id}/resume", LEAVE, key="once")
    await operator.scene.advance()
    before = await operator.scene.everything()
    again = await operator.post(f"{waiting.run_id}/resume", LEAVE, key="once")
    assert (again.status_code, again.content) == (first.status_code, first.content) == (202, first.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await operator.scene.everything() == before


async def test_a_key_is_good_for_one_request(operator: Operator) -> None:
    turn, fork = await operator.scene.answered("office timings"), {"dry_run": True}
    assert (await operator.post(f"{turn.run_id}/fork", fork, key="once")).status_code == 202
    for path, body in (("fork", {"dry_run": False}), ("fork", None), ("replay", None)):
        refusal = await operator.refused(f"{turn.run_id}/{path}", body, status=409, key="once")
        assert "belongs to another request" in refusal


async def test_a_key_of_one_tenant_says_nothing_to_another(operator: Operator, stack: Stack, sealer: Sealer) -> None:
    turn = await operator.scene.answered("office timings")
    await operator.post(f"{turn.run_id}/replay", key="once")
    stranger = await operator.stranger(stack, sealer)
    assert "no run" in await stranger.refused(f"{turn.run_id}/replay", None, status=404, key="once")


async def test_what_was_refused_may_be_asked_again_under_its_key(operator: Operator) -> None:
    await operator.scene.hear("office timings")
    (run,) = (await operator.get())["items"]
    await operator.refused(f"{run['id']}/replay", None, status=409, key="once")
    await operator.scene.advance()
    assert (await operator.post(f"{run['id']}/replay", key="once")).status_code == 202


async def test_of_many_at_once_one_acts(operator: Operator) -> None:
    turn = await operator.scene.answered("office timings")
    answers = await asyncio.gather(*(operator.post(f"{turn.run_id}/replay", key="once") for _ in range(8)))
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert accepted
    assert len({answer.content for answer in accepted}) == 1
    assert {answer.status_code for answer in answers} <= {202, 409}
    (count,) = await operator.scene.rows("SELECT count(*) AS n FROM core.runs WHERE kind = 'replay'")
    assert count["n"] == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a b", "é"])
async def test_a_key_that_is_none_is_refused(operator: Operator, key: str) -> None:
    turn = await operator.scene.answered("office timings")
    answer = await operator.api.client.post(
        f"/v1/runs/{turn.run_id}/replay", headers=operator.headers | {"idempotency-key": key.encode()}
    )  # fmt: skip
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "header.idempotency-key")
