import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Broken, FenceLost, NotFound, Overloaded, ProviderRefused, ProviderUnclear
from core.ids import RunId, TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from tests.conftest import Stack
from tests.tools.acting_agent import act
from tests.tools.acting_service import ActingService
from tests.tools.held_run import HeldRun, a_held_run
from tools import receipts
from tools.receipts import Call, CallUnsettled, NotRecorded, call_key, call_once, idempotency_key

WORDS = st.text(alphabet="ab/|", max_size=3)
PLACES = st.tuples(WORDS, WORDS, WORDS, st.integers(0, 3), st.integers(0, 3))


def at(service: ActingService, *, keyless: bool = False) -> Call:
    """A call of this service under the key it is given."""

    async def call(key: str) -> Any:
        return await act(service.url, key, key=None if keyless else key)

    return call


def giving(answer: object) -> Call:
    async def call(_: str) -> Any:
        return answer

    return call


def failing(error: Exception) -> Call:
    async def call(_: str) -> Any:
        raise error

    return call


async def forbidden(_: str) -> Any:
    raise AssertionError("nothing may be called")


async def once(run: HeldRun, key: str, call: Call, **fields: Any) -> Any:
    wanted: dict[str, Any] = {"key": key, "tool": "pledge", "request": {"a": 1}, "call": call}
    return await call_once(run.context(), **wanted | fields)


async def only_state(run: HeldRun) -> str:
    [receipt] = await run.receipts()
    return receipt["state"]


@pytest.fixture
def key() -> str:
    return new_id("key")


async def test_a_repeated_call_gets_the_stored_answer(run: HeldRun, service: ActingService, key: str) -> None:
    answer = await once(run, key, at(service))
    assert answer == {"act": "act_1", "reference": key}
    assert await once(run, key, forbidden) == answer
    [receipt] = await run.receipts()
    assert (receipt["tool"], receipt["state"], receipt["response"]) == ("pledge", "done", answer)
    assert receipt["finished_at"] is not None


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    run: HeldRun, service: ActingService, key: str
) -> None:
    service.lose_answers = 1
    with pytest.raises(ProviderUnclear):
        await once(run, key, at(service))
    assert await only_state(run) == "calling"
    assert await once(run, key, at(service)) == {"act": "act_1", "reference": key}
    assert service.requests[key] == 2
    assert service.acts == {key: 1}


async def test_a_refusal_is_raised_again_without_a_call(run: HeldRun, service: ActingService, key: str) -> None:
    service.refuse_with = 422
    with pytest.raises(ProviderRefused) as first:
        await once(run, key, at(service))
    service.refuse_with = 0
    with pytest.raises(ProviderRefused) as second:
        await once(run, key, at(service))
    assert vars(second.value) == vars(first.value)
    assert (first.value.remedy, first.value.provider_code) == ("stop", "422")
    assert await only_state(run) == "refused"
    assert service.requests[key] == 1


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("too much work"),
        ProviderUnclear("no answer"),
        ProviderRefused("no connection", remedy="retry", provider_code="connect"),
        KeyError("a defect"),
        TimeoutError(),
    ],
)
async def test_what_is_not_settled_is_called_again(
    run: HeldRun, service: ActingService, key: str, error: Exception
) -> None:
    with pytest.raises(ProviderUnclear if isinstance(error, TimeoutError) else type(error)):
        await once(run, key, failing(error))
    assert await only_state(run) == "calling"
    assert (await once(run, key, at(service)))["act"] == "act_1"


async def test_a_service_that_never_answers_is_unclear(run: HeldRun, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: str) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(receipts, "CALL_S_MAX", 0.01)
    with pytest.raises(ProviderUnclear, match="pledge did not answer"):
        await once(run, key, silent)
    assert await only_state(run) == "calling"


@pytest.mark.parametrize("fields", [{"request": {"a": 2}}, {"tool": "refund"}])
async def test_another_call_under_the_same_key_is_a_defect_that_names_both(
    run: HeldRun, service: ActingService, key: str, fields: dict[str, Any]
) -> None:
    await once(run, key, at(service))
    with pytest.raises(Broken, match=rf"{key} was made as pledge with request [0-9a-f]{{64}} and is now wanted as"):
        await call_once(
            run.context(), **{"key": key, "tool": "pledge", "request": {"a": 1}, "call": forbidden} | fields
        )


async def test_one_key_in_two_tenants_is_two_calls(run: HeldRun, key: str, database: Database, stack: Stack) -> None:
    slug = new_id("slug").replace("_", "-")
    other = await a_held_run(database, create_tenant(stack.admin_url, slug=slug, name="Another"))
    assert await once(run, key, giving("ours")) == "ours"
    assert await once(other, key, giving("theirs")) == "theirs"
    assert [receipt["response"] for receipt in await run.receipts()] == ["ours"]


async def test_who_lost_the_conversation_calls_nothing(run: HeldRun, key: str) -> None:
    await run.taken_over()
    with pytest.raises(FenceLost):
        await once(run, key, forbidden)
    assert await run.receipts() == []


async def test_the_first_answer_stands_and_the_later_caller_gets_it(run: HeldRun, key: str) -> None:
    first_has_asked, second_has_ended = asyncio.Event(), asyncio.Event()

    async def slow(_: str) -> Any:
        first_has_asked.set()
        await second_has_ended.wait()
        return "late"

    late = asyncio.create_task(once(run, key, slow))
    await first_has_asked.wait()
    assert await once(run, key, giving("early")) == "early"
    second_has_ended.set()
    assert await late == "early"


@pytest.mark.parametrize("late", [giving("late"), failing(NotFound("late"))])
async def test_who_was_overtaken_during_the_call_neither_changes_the_answer_nor_goes_on(
    run: HeldRun, key: str, late: Call
) -> None:
    async def slow(key: str) -> Any:
        assert await once(await run.taken_over(), key, giving("early")) == "early"
        return await late(key)

    with pytest.raises(FenceLost):
        await once(run, key, slow)
    [receipt] = await run.receipts()
    assert (receipt["state"], receipt["response"]) == ("done", "early")


async def test_what_the_service_did_is_kept_though_the_run_goes_on_elsewhere(run: HeldRun, key: str) -> None:
    async def overtaken(_: str) -> Any:
        await run.taken_over()
        return "done"

    with pytest.raises(FenceLost):
        await once(run, key, overtaken)
    assert await only_state(run) == "done"


async def test_a_call_that_cannot_be_repeated_is_left_to_a_person(
    run: HeldRun, service: ActingService, key: str
) -> None:
    service.lose_answers = 1
    with pytest.raises(ProviderUnclear):
        await once(run, key, at(service, keyless=True), idempotent=False)
    with pytest.raises(CallUnsettled, match=f"a person must look there, receipt {key}") as raised:
        await once(run, key, forbidden, idempotent=False)
    assert not raised.value.retryable
    assert service.acts == {key: 1}


async def test_a_service_without_keys_is_asked_what_it_did(run: HeldRun, service: ActingService, key: str) -> None:
    async def lookup(key: str) -> Any:
        return {"act": "found", "reference": key} if service.acts[key] else None

    async def ask(call: Call) -> Any:
        return await once(run, key, call, idempotent=False, lookup=lookup)

    with pytest.raises(Overloaded):
        await ask(failing(Overloaded("shed before it acted")))
    service.lose_answers = 1
    with pytest.raises(ProviderUnclear):
        await ask(at(service, keyless=True))
    assert await ask(forbidden) == {"act": "found", "reference": key}
    assert await ask(forbidden) == {"act": "found", "reference": key}
    assert service.acts == {key: 1}


@pytest.mark.parametrize("error", [NotFound("no such page"), Overloaded("later"), TimeoutError()])
async def test_a_look_up_that_fails_settles_nothing(run: HeldRun, key: str, error: Exception) -> None:
    with pytest.raises(ProviderUnclear):
        await once(run, key, failing(ProviderUnclear("lost")))
    with pytest.raises(Overloaded if isinstance(error, Overloaded) else ProviderUnclear):
        await once(run, key, forbidden, lookup=failing(error))
    assert await only_state(run) == "calling"


@pytest.mark.parametrize("answer", [None, "", 0, [1.5, {"amount_minor": 10**20}], "paid\x00 \ud800", {"z": 1, "a": 2}])
async def test_an_answer_is_the_same_the_first_time_and_later(run: HeldRun, key: str, answer: object) -> None:
    first = await once(run, key, giving(answer))
    assert await once(run, key, forbidden) == first
    assert first == ("paid\ufffd \ufffd" if isinstance(answer, str) and answer else answer)


@pytest.mark.parametrize("answer", [float("nan"), object(), {"at": b"bytes"}])
async def test_an_answer_that_is_not_json_is_a_defect_and_is_not_called_for_again(
    run: HeldRun, key: str, answer: object
) -> None:
    with pytest.raises(Broken, match="cannot be stored as JSON"):
        await once(run, key, giving(answer))
    with pytest.raises(Broken, match="cannot be stored as JSON"):
        await once(run, key, forbidden)


async def test_the_key_is_known_inside_the_call_and_nowhere_else(run: HeldRun, key: str) -> None:
    async def call(given: str) -> Any:
        return [given, await asyncio.create_task(asyncio.to_thread(idempotency_key))]

    assert await once(run, key, call) == [key, key]
    with pytest.raises(Broken, match="no idempotency key"):
        idempotency_key()


async def recorded(run: HeldRun, key: str, **fields: Any) -> Any:
    wanted: dict[str, Any] = {"key": key, "tool": "pledge", "request": {"a": 1}, "call": forbidden}
    return await call_once(run.context(dry_run=True), **wanted | fields)


async def test_a_dry_run_gives_what_is_recorded_and_calls_nothing(run: HeldRun, key: str) -> None:
    await once(run, key, giving("ours"))
    await run.taken_over()  # a dry run needs to hold no conversation
    assert await recorded(run, key) == "ours"


async def test_a_dry_run_is_refused_as_the_run_was(run: HeldRun, key: str) -> None:
    with pytest.raises(NotFound):
        await once(run, key, failing(NotFound("no such payment")))
    with pytest.raises(NotFound, match="no such payment") as raised:
        await recorded(run, key)
    assert not isinstance(raised.value, NotRecorded)


@pytest.mark.parametrize("fields", [{"key": "another"}, {"request": {"a": 2}}, {"tool": "refund"}])
async def test_a_dry_run_gives_nothing_that_was_not_recorded(run: HeldRun, key: str, fields: dict[str, Any]) -> None:
    await once(run, key, giving("ours"))
    with pytest.raises(NotRecorded):
        await recorded(run, **{"key": key} | fields)
    assert len(await run.receipts()) == 1


async def test_a_dry_run_gives_nothing_while_the_outcome_is_unclear(run: HeldRun, key: str) -> None:
    with pytest.raises(ProviderUnclear):
        await once(run, key, failing(ProviderUnclear("lost")))
    with pytest.raises(NotRecorded):
        await recorded(run, key)


async def test_only_a_dry_run_uses_another_runs_keys(run: HeldRun) -> None:
    other = RunId(new_id("run"))
    assert run.context(dry_run=True, receipts_of=other).receipts_run_id == other
    assert run.context(dry_run=True).receipts_run_id == run.run_id
    assert run.context(receipts_of=other).receipts_run_id == run.run_id


def key_of(place: tuple[str, str, str, int, int]) -> str:
    tenant, run, path, step, index = place
    return call_key(TenantId(tenant), RunId(run), path=path, step=step, index=index)


def test_the_key_of_a_call_does_not_change_with_the_software() -> None:
    """A release that made other keys would call again what a run before it had called."""
    assert key_of(("t_1", "run_1", "reply/tools", 2, 0)) == (
        "b1bbdd49d3475aa27dc7b196d2b0d7139d3b9733b41c2feccb220b4a8c70d4b9"
    )


@given(PLACES, PLACES)
def test_different_calls_have_different_keys(
    one: tuple[str, str, str, int, int], other: tuple[str, str, str, int, int]
) -> None:
    assert (key_of(one) == key_of(other)) == (one == other)
