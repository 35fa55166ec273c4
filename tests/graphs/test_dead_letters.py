from collections.abc import AsyncIterator
from datetime import datetime
from typing import get_args

import pytest

from cli.letters import Kind
from core.crypto import Sealer
from core.errors import NotFound, RequestInvalid
from core.ids import new_id
from db.pools import Database
from graphs.dead_letters import (
    KINDS,
    Unrouted,
    get_dead_letter,
    list_dead_letters,
    parse_letter_id,
    tenant_of_letter,
    tenants_with_dead_letters,
)
from tests.builders import a_number, an_organisation, rows, the_meta_app
from tests.conftest import Stack
from tests.graphs.letters import Buried, one_of_each, put_away
from tests.inbox.dead import a_dead_body, a_dead_job, an_unrouted_event, the_app_id


@pytest.fixture
async def buried(database: Database, sealer: Sealer, stack: Stack) -> AsyncIterator[Buried]:
    made = await one_of_each(database, sealer, stack.admin_url)
    yield made
    await put_away(database, made)


async def test_everything_that_ended_badly_stands_in_one_listing_the_latest_first(
    database: Database, buried: Buried
) -> None:
    found = await list_dead_letters(database, buried.tenant_id, limit=10)
    assert {letter.id for letter in found} == buried.ids
    assert [letter.at for letter in found] == sorted((letter.at for letter in found), reverse=True)
    assert {letter.tenant_id for letter in found} == {buried.tenant_id}
    what = {letter.id: (letter.what, letter.attempts, letter.cause) for letter in found}
    assert what[buried.event] == ("message_received", 5, "its worker died 5 times")
    assert what[buried.job] == ("tidy", 8, "NotFound: no such message")
    assert what[buried.effect] == ("send", 1, "the provider never said what became of it")
    assert what[buried.run] == ("turn/conversation", 5, "given up after 5 attempts")
    assert what[buried.body][0] == "whatsapp"
    account_ids = {letter.id: letter.account_id for letter in found}
    assert {account_ids[one] for one in buried.ids - {buried.job}} == {buried.organisation.account_id}
    [effect] = [letter for letter in found if letter.kind == "effect"]
    [run] = [letter for letter in found if letter.kind == "run"]
    assert effect.conversation_id == run.conversation_id is not None
    died = {letter.kind for letter in found if letter.died_at}
    assert died == {"job", "run"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_listing_of_one_kind_has_only_that_kind(database: Database, buried: Buried, kind: Kind) -> None:
    found = await list_dead_letters(database, buried.tenant_id, kind=kind, limit=10)
    assert [letter.id for letter in found] == [getattr(buried, kind)]


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_page_by_page_each_comes_once_though_many_died_at_the_same_moment(
    database: Database, buried: Buried, limit: int
) -> None:
    for _ in range(6):
        await a_dead_job(database, buried.tenant_id)
    await rows(database, buried.tenant_id, "UPDATE core.jobs SET finished_at = now() RETURNING 1")
    seen: list[str] = []
    before: tuple[datetime, str] | None = None
    while found := await list_dead_letters(database, buried.tenant_id, before=before, limit=limit):
        seen.extend(letter.id for letter in found)
        before = (found[-1].at, found[-1].id)
    assert len(seen) == len(set(seen)) == 11


async def test_a_tenant_sees_its_own_and_never_what_belongs_to_nobody(
    database: Database, sealer: Sealer, stack: Stack, buried: Buried
) -> None:
    the_meta_app(stack.admin_url, sealer)
    app_id = await the_app_id(database, an_organisation(stack.admin_url, sealer, app="meta"))
    event = await an_unrouted_event(database, sealer, app_id, a_number())
    body = await a_dead_body(database, sealer, new_id("app"), None, channel="meta")
    nobodys = {f"event:{event}", f"body:{body}"}
    for tenant_id in (buried.tenant_id, an_organisation(stack.admin_url, sealer).tenant_id):
        found = {letter.id for letter in await list_dead_letters(database, tenant_id, limit=200)}
        assert found == (buried.ids if tenant_id == buried.tenant_id else set())
        for one in nobodys:
            with pytest.raises(NotFound):
                await get_dead_letter(database, tenant_id, parse_letter_id(one))
    unrouted = await list_dead_letters(database, Unrouted(sealer), limit=10)
    assert [letter.tenant_id for letter in unrouted] == [None] * len(unrouted)
    assert nobodys <= {letter.id for letter in unrouted}
    for one in buried.ids:
        with pytest.raises(NotFound):
            await get_dead_letter(database, Unrouted(sealer), parse_letter_id(one))
    assert await list_dead_letters(database, Unrouted(sealer), kind="job", limit=10) == []
    letter, detail = await get_dead_letter(database, Unrouted(sealer), parse_letter_id(f"event:{event}"))
    assert letter.cause is not None
    assert letter.cause.startswith("unrouted")
    assert detail["event_kind"] == "message_received"


async def test_an_operator_finds_whose_a_letter_is(
    database: Database, sealer: Sealer, stack: Stack, buried: Buried
) -> None:
    quiet = an_organisation(stack.admin_url, sealer).tenant_id
    tenants = await tenants_with_dead_letters(database)
    assert buried.tenant_id in tenants
    assert quiet not in tenants
    for one in buried.ids:
        assert await tenant_of_letter(database, parse_letter_id(one)) == buried.tenant_id
    body = await a_dead_body(database, sealer, new_id("app"), None, channel="meta")
    assert await tenant_of_letter(database, parse_letter_id(f"body:{body}")) is None
    with pytest.raises(NotFound, match="job:job_0"):
        await tenant_of_letter(database, parse_letter_id("job:job_0"))


async def test_an_effect_shows_its_message_and_nothing_shows_what_a_stranger_sent(
    database: Database, buried: Buried
) -> None:
    details = {one: (await get_dead_letter(database, buried.tenant_id, parse_letter_id(one)))[1] for one in buried.ids}
    effect = details[buried.effect]
    assert (effect["message"]["text"], effect["delivery"]) == ("Namaste", "at_most_once")
    assert (effect["message_status"], effect["may_have_left"]) == ("unknown", True)
    assert (effect["conversation_owner"], effect["channel"], effect["account_state"]) == (
        "agent", "whatsapp", "active",
    )  # fmt: skip
    assert details[buried.job]["payload"] == {"message_id": "msg_1"}
    assert details[buried.run]["thread_id"].startswith("conv_")
    assert details[buried.event]["account_id"] == buried.organisation.account_id
    values = [value for detail in details.values() for value in detail.values()]
    assert not [value for value in values if isinstance(value, bytes | memoryview)]


async def test_what_is_not_dead_any_more_is_no_dead_letter(database: Database, buried: Buried) -> None:
    await rows(database, buried.tenant_id, "UPDATE core.jobs SET state = 'done' RETURNING 1")
    with pytest.raises(NotFound, match=buried.job):
        await get_dead_letter(database, buried.tenant_id, parse_letter_id(buried.job))
    found = await list_dead_letters(database, buried.tenant_id, limit=10)
    assert buried.job not in {letter.id for letter in found}


@pytest.mark.parametrize(
    "text",
    [
        "", "event", "event:", ":1", "event:x", "event:0", "event:01", "event:-1", "event:1\n", "event:" + "9" * 19,
        "job:", "job:JOB_1", "job:job_1'; --", "effects:eff_1", "run:" + "r" * 65, "event:1:2", "event:١",
    ],
)  # fmt: skip
def test_a_malformed_id_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid, match="no dead letter's id"):
        parse_letter_id(text)


def test_the_command_line_knows_the_same_kinds() -> None:
    assert get_args(Kind) == KINDS
