from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.crypto import Sealer
from core.errors import ChowkError, Conflict, NotFound, RequestInvalid
from core.ids import TenantId
from db.pools import Database
from graphs.dead_letter_acts import Act, Verb, act_on, act_on_each
from graphs.dead_letters import Unrouted, list_dead_letters, parse_letter_id
from tests.builders import a_number, an_organisation, rows, the_meta_app
from tests.conftest import Stack
from tests.graphs.letters import Buried, one_of_each, put_away
from tests.inbox.dead import a_dead_body, a_dead_job, an_unrouted_event, queue_rows, the_app_id

RETRY = Act("retry", by="ak_1")
DISCARD = Act("discard", by="ak_1", reason="a test")
STATES = """
SELECT 'body:' || id AS id, state, error FROM core.inbox
UNION ALL SELECT 'event:' || id, state, error FROM core.inbox_events
UNION ALL SELECT 'job:' || id, state, error FROM core.jobs
UNION ALL SELECT 'effect:' || id, state, error FROM core.effects
UNION ALL SELECT 'run:' || id, state, error FROM core.runs
"""


@pytest.fixture
async def buried(database: Database, sealer: Sealer, stack: Stack) -> AsyncIterator[Buried]:
    made = await one_of_each(database, sealer, stack.admin_url)
    yield made
    await put_away(database, made)


async def states(database: Database, buried: Buried) -> dict[str, Any]:
    found = await rows(database, buried.tenant_id, STATES)
    return {row["id"]: row["state"] for row in found if row["id"] in buried.ids}


async def refusal(database: Database, whose: TenantId | Unrouted, letter: str, act: Act) -> ChowkError:
    with pytest.raises(ChowkError) as raised:
        await act_on(database, whose, parse_letter_id(letter), act)
    return raised.value


async def test_each_kind_goes_back_into_its_queue_and_who_did_it_stands_in_the_log(
    database: Database, buried: Buried
) -> None:
    with capture_logs() as lines:
        for one in sorted(buried.ids):
            await act_on(database, buried.tenant_id, parse_letter_id(one), RETRY)
    assert await states(database, buried) == {
        buried.body: "new", buried.event: "new", buried.job: "queued", buried.effect: "queued", buried.run: "queued",
    }  # fmt: skip
    said = [(line["letter"], line["act"], line["by"], line["tenant_id"]) for line in lines]
    assert said == [(one, "retry", "ak_1", buried.tenant_id) for one in sorted(buried.ids)]
    assert await list_dead_letters(database, buried.tenant_id, limit=10) == []


async def test_each_kind_is_let_go_once_and_keeps_its_cause(database: Database, buried: Buried) -> None:
    causes = {letter.id: letter.cause for letter in await list_dead_letters(database, buried.tenant_id, limit=10)}
    for one in buried.ids:
        await act_on(database, buried.tenant_id, parse_letter_id(one), DISCARD)
    gone = await states(database, buried)
    assert gone.pop(buried.run) == "cancelled"
    assert set(gone.values()) == {"discarded"}
    errors = {row["id"]: row["error"] for row in await rows(database, buried.tenant_id, STATES)}
    for one in buried.ids - {buried.run}:
        assert errors[one] == f"{causes[one]}; discarded by ak_1: a test"
    assert errors[buried.run] == causes[buried.run]
    [command] = await rows(database, buried.tenant_id, "SELECT kind, requested_by, payload FROM core.run_commands")
    assert command == {"kind": "discard", "requested_by": "ak_1", "payload": {"reason": "a test"}}


@pytest.mark.parametrize("first", [RETRY, DISCARD])
@pytest.mark.parametrize("second", [RETRY, DISCARD])
async def test_a_second_act_is_refused_and_changes_nothing(
    database: Database, buried: Buried, first: Act, second: Act
) -> None:
    for one in buried.ids:
        await act_on(database, buried.tenant_id, parse_letter_id(one), first)
    after = await states(database, buried)
    for one in buried.ids:
        error = await refusal(database, buried.tenant_id, one, second)
        assert isinstance(error, Conflict)
        assert after[one] in error.message
    assert await states(database, buried) == after


async def test_only_an_effect_is_marked_as_sent(database: Database, buried: Buried) -> None:
    act = Act("mark_sent", by="cli:meera")
    before = await states(database, buried)
    for one in buried.ids - {buried.effect}:
        assert isinstance(await refusal(database, buried.tenant_id, one, act), RequestInvalid)
    assert await states(database, buried) == before
    await act_on(database, buried.tenant_id, parse_letter_id(buried.effect), act)
    assert (await states(database, buried))[buried.effect] == "sent"


@pytest.mark.parametrize("verb", ["retry", "discard", "mark_sent"])
async def test_what_is_not_of_the_one_who_asks_is_not_found_and_unchanged(
    database: Database, sealer: Sealer, stack: Stack, buried: Buried, verb: Verb
) -> None:
    stranger = an_organisation(stack.admin_url, sealer).tenant_id
    before = await states(database, buried)
    for whose in (stranger, Unrouted(sealer)):
        for one in buried.ids if verb != "mark_sent" else [buried.effect]:
            assert isinstance(await refusal(database, whose, one, Act(verb, by="x")), NotFound)
    assert await states(database, buried) == before


@pytest.mark.parametrize("unknown", ["body:1000000000000", "event:1000000000000", "job:job_0", "effect:e", "run:r"])
async def test_what_never_was_is_not_found(database: Database, buried: Buried, unknown: str) -> None:
    for act in (RETRY, DISCARD):
        assert isinstance(await refusal(database, buried.tenant_id, unknown, act), NotFound)


async def test_of_several_each_is_answered_for_in_order_and_one_refusal_stops_no_other(
    database: Database, buried: Buried
) -> None:
    job = f"job:{await a_dead_job(database, buried.tenant_id)}"
    asked = [job, "job:job_0", buried.event, job, buried.job]
    answers = await act_on_each(database, buried.tenant_id, [parse_letter_id(one) for one in asked], RETRY)
    assert [(answer.id, answer.refused is None) for answer in answers] == [
        (job, True), ("job:job_0", False), (buried.event, True), (buried.job, True),
    ]  # fmt: skip
    assert (await states(database, buried))[buried.event] == "new"
    assert await act_on_each(database, buried.tenant_id, [], RETRY) == []


async def test_what_belongs_to_nobody_is_routed_or_let_go_by_the_installations_operator(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    the_meta_app(stack.admin_url, sealer)
    known = an_organisation(stack.admin_url, sealer, app="meta")
    app_id = await the_app_id(database, known)
    first, second = [await an_unrouted_event(database, sealer, app_id, a_number()) for _ in range(2)]
    body = await a_dead_body(database, sealer, app_id, None, channel="meta")
    await queue_rows(
        database, "UPDATE core.inbox_events SET account_id = %s WHERE id = %s",
        f"{app_id}:{known.phone_number_id}", first,
    )  # fmt: skip
    nobody = Unrouted(sealer)
    error = await refusal(database, nobody, f"event:{second}", RETRY)
    assert "still has no account" in error.message
    await act_on(database, nobody, parse_letter_id(f"event:{second}"), DISCARD)
    await act_on(database, nobody, parse_letter_id(f"body:{body}"), DISCARD)
    [row] = await queue_rows(database, "SELECT state FROM core.inbox WHERE id = %s", body)
    assert row == {"state": "discarded"}
    # Sealed for the number it came for, so it does not open as one for another.
    assert "does not open" in (await refusal(database, nobody, f"event:{first}", RETRY)).message
