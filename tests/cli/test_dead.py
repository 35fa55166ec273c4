import asyncio
import getpass
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.crypto import Sealer
from core.ids import new_id
from db.pools import Database
from tests.builders import Organisation, a_number, an_organisation, rows, the_meta_app, with_account
from tests.cli.test_main import chowk, refused, runner
from tests.conftest import Stack
from tests.graphs.letters import Buried, one_of_each, put_away
from tests.inbox.dead import a_dead_body, a_dead_job, an_unrouted_event, queue_rows, the_app_id


@pytest.fixture
async def buried(database: Database, sealer: Sealer, stack: Stack) -> AsyncIterator[Buried]:
    made = await one_of_each(database, sealer, stack.admin_url)
    yield made
    await put_away(database, made)


@pytest.fixture
async def slug(database: Database, buried: Buried) -> str:
    [row] = await queue_rows(database, "SELECT slug FROM core.tenants WHERE id = %s", buried.tenant_id)
    return row["slug"]


async def run(*arguments: str) -> str:
    return await asyncio.to_thread(chowk, "dead", *arguments)


async def refusal(*arguments: str) -> str:
    return await asyncio.to_thread(refused, "dead", *arguments)


async def listed(*arguments: str) -> list[dict[str, Any]]:
    return json.loads(await run("list", "--json", *arguments))


async def test_a_tenants_dead_letters_are_listed_as_a_table_and_as_json(buried: Buried, slug: str) -> None:
    found = await listed("--tenant", slug)
    assert {letter["id"] for letter in found} == buried.ids
    assert {letter["tenant"] for letter in found} == {slug}
    assert [letter["at"] for letter in found] == sorted((letter["at"] for letter in found), reverse=True)
    table = await run("list", "--tenant", slug)
    assert buried.effect in table
    assert "the provider never said what became of it" in table
    assert [letter["id"] for letter in await listed("--tenant", slug, "--kind", "job")] == [buried.job]
    assert len(await listed("--tenant", slug, "--limit", "2")) == 2


async def test_over_all_tenants_the_latest_come_first(
    database: Database, sealer: Sealer, stack: Stack, buried: Buried
) -> None:
    other = await one_of_each(database, sealer, stack.admin_url)
    for options in ((), ("--all",)):
        found = await listed("--kind", "run", "--limit", "10000", *options)
        ids = [letter["id"] for letter in found]
        assert ids.index(other.run) < ids.index(buried.run)
    await put_away(database, other)


async def test_one_is_shown_whole(buried: Buried) -> None:
    shown = json.loads(await run("show", buried.effect))
    assert (shown["id"], shown["detail"]["message"]["text"]) == (buried.effect, "Namaste")
    assert "sealed" not in await run("show", buried.event)


async def test_those_that_are_named_are_retried_and_who_did_it_is_logged(database: Database, buried: Buried) -> None:
    result = await asyncio.to_thread(runner.invoke, _app(), ["dead", "retry", buried.job, buried.event])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{buried.job} retried", f"{buried.event} retried"]
    logged = [json.loads(line) for line in result.stderr.splitlines()]
    assert [(line["letter"], line["by"]) for line in logged] == [
        (buried.job, f"cli:{getpass.getuser()}"), (buried.event, f"cli:{getpass.getuser()}"),
    ]  # fmt: skip
    assert await rows(database, buried.tenant_id, "SELECT state FROM core.jobs") == [{"state": "queued"}]


def _app() -> Any:
    from cli.main import app

    return app


async def test_one_that_is_refused_is_named_stops_no_other_and_is_a_failure(buried: Buried) -> None:
    result = await asyncio.to_thread(
        runner.invoke, _app(), ["dead", "retry", "run:run_0", buried.job, buried.job, "--json"]
    )
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"id": "run:run_0", "outcome": "refused", "reason": "there is no dead letter run:run_0"},
        {"id": buried.job, "outcome": "done", "reason": None},
    ]
    assert "chowk: there is no dead letter run:run_0" in result.stderr
    assert "'queued'" in await refusal("retry", buried.job)


async def test_those_of_a_kind_are_let_go_with_a_reason(database: Database, buried: Buried, slug: str) -> None:
    for _ in range(4):
        await a_dead_job(database, buried.tenant_id)
    await run("discard", "--kind", "job", "--tenant", slug, "--limit", "2", "--reason", "of no use")
    assert len(await listed("--tenant", slug, "--kind", "job")) == 3
    await run("discard", "--kind", "job", "--tenant", slug, "--all-of-kind", "--reason", "of no use")
    assert {letter["id"] for letter in await listed("--tenant", slug)} == buried.ids - {buried.job}
    errors = {row["error"] for row in await rows(database, buried.tenant_id, "SELECT error FROM core.jobs")}
    assert errors == {f"NotFound: no such message; discarded by cli:{getpass.getuser()}: of no use"}


async def test_all_of_a_kind_is_done_with_once_though_some_are_refused(
    database: Database, buried: Buried, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.letters.PAGE_LETTERS", 2)
    for _ in range(4):
        await a_dead_job(database, buried.tenant_id, key="the same")
    result = await asyncio.to_thread(
        runner.invoke, _app(), ["dead", "retry", "--kind", "job", "--tenant", slug, "--all-of-kind", "--json"]
    )
    answers = json.loads(result.stdout)
    assert result.exit_code == 1
    assert sorted(answer["outcome"] for answer in answers) == ["done", "done", "refused", "refused", "refused"]
    assert len({answer["id"] for answer in answers}) == 5


async def test_an_effect_is_marked_as_sent(database: Database, buried: Buried) -> None:
    assert await run("sent", buried.effect)
    assert await rows(database, buried.tenant_id, "SELECT state FROM core.effects") == [{"state": "sent"}]
    assert "only an effect" in await refusal("sent", buried.job)


async def test_an_unrouted_event_is_listed_and_reaches_the_tenant_that_registers_its_number(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    the_meta_app(stack.admin_url, sealer)
    app_id = await the_app_id(database, an_organisation(stack.admin_url, sealer, app="meta"))
    number = a_number()
    letter = f"event:{await an_unrouted_event(database, sealer, app_id, number)}"
    body = f"body:{await a_dead_body(database, sealer, new_id('app'), None, channel='meta')}"
    found = {one["id"]: one for one in await listed("--unrouted", "--limit", "10000")}
    assert {letter, body} <= set(found)
    assert {one["tenant"] for one in found.values()} == {None}
    assert number in await refusal("retry", letter)
    late: Organisation = with_account(stack.admin_url, sealer, an_organisation(stack.admin_url, sealer).tenant_id)
    await asyncio.to_thread(
        chowk, "account", "add", "--tenant", await _slug(database, late), "--channel", "whatsapp",
        "--external-id", number, "--app", "meta", "--access-token", "token",
    )  # fmt: skip
    await run("retry", letter)
    [event] = await rows(database, late.tenant_id, "SELECT state FROM core.inbox_events")
    assert event == {"state": "new"}
    await run("discard", body)
    assert body not in {one["id"] for one in await listed("--unrouted", "--limit", "10000")}
    await rows(database, late.tenant_id, "UPDATE core.inbox_events SET state = 'discarded' RETURNING 1")


async def _slug(database: Database, organisation: Organisation) -> str:
    [row] = await queue_rows(database, "SELECT slug FROM core.tenants WHERE id = %s", organisation.tenant_id)
    return row["slug"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("retry",), "name the dead letters"),
        (("retry", "event:1", "--kind", "event"), "name the dead letters"),
        (("retry", "--kind", "event"), "--tenant SLUG"),
        (("retry", "event:1", "--all"), "go with --kind"),
        (("retry", "event:x"), "event:x"),
        (("retry", "run:run_0"), "run:run_0"),
        (("show", "event:x"), "event:x"),
        (("show", "job:job_0"), "job:job_0"),
        (("list", "--all", "--unrouted"), "exclude each other"),
        (("list", "--tenant", "nobody"), "'nobody'"),
        (("discard", "job:job_0", "--reason", "x" * 501), "501 characters"),
    ],
)
def test_what_makes_no_sense_is_one_line_that_says_so(stack: Stack, arguments: tuple[str, ...], named: str) -> None:
    assert stack.app_url
    assert named in refused("dead", *arguments)
