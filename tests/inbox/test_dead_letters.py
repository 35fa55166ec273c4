import asyncio
from typing import Any

import psycopg
import pytest

from core.crypto import Sealer
from core.errors import Conflict, NotFound
from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import queue_tx, tenant_tx
from inbox.dead_letters import (
    InboxKind,
    discard_body,
    discard_event,
    discard_job,
    look,
    retry_body,
    retry_event,
    retry_job,
)
from inbox.jobs import Job, claim_jobs, run_job
from inbox.sweep import sweep
from tests.builders import Organisation, an_organisation, rows, take_in, the_meta_app
from tests.conftest import Stack
from tests.eventually import eventually
from tests.inbox.dead import a_dead_body, a_dead_event, a_dead_job, queue_rows
from tests.outbox.test_deliver import waits_for_a_lock

BODY = """
SELECT state, attempts, error, body_sealed IS NOT NULL OR body_blob IS NOT NULL OR body_wrapped_key IS NOT NULL AS kept
FROM core.inbox WHERE id = %s
"""
EVENT = """
SELECT e.state, e.attempts, e.error, e.event_sealed IS NOT NULL OR e.event_wrapped_key IS NOT NULL AS kept,
  i.state AS body_state
FROM core.inbox_events e JOIN core.inbox i ON i.id = e.inbox_id WHERE e.id = %s
"""


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


async def one(database: Database, query: str, key: int) -> dict[str, Any]:
    [row] = await queue_rows(database, query, key)
    return row


async def look_as(database: Database, tenant_id: TenantId | None, kind: InboxKind, key: int, *, retry: bool) -> None:
    opened = queue_tx(database, commit="test") if tenant_id is None else tenant_tx(database, tenant_id, commit="test")
    async with opened as connection:
        await look(connection, kind, key, to_retry=retry)


async def test_a_body_is_split_once_more_and_keeps_its_cause_until_it_is_known_what_became_of_it(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    key = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    before = await one(database, BODY, key)
    await look_as(database, organisation.tenant_id, "body", key, retry=True)
    await retry_body(database, organisation.tenant_id, key)
    assert await one(database, BODY, key) == before | {"state": "new", "attempts": 0}
    await take_in(database, sealer)
    assert await one(database, BODY, key) == before | {"attempts": 1}


async def test_a_body_that_is_let_go_keeps_its_cause_and_loses_what_it_held(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    key = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    cause = (await one(database, BODY, key))["error"]
    await discard_body(database, organisation.tenant_id, key, note="discarded by x: nonsense")
    body = await one(database, BODY, key)
    assert (body["state"], body["kept"]) == ("discarded", False)
    assert body["error"] == f"{cause}; discarded by x: nonsense"


async def test_an_event_is_written_once_more_and_its_body_is_done_then(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    key = await a_dead_event(database, sealer, organisation, "At last")
    await look_as(database, organisation.tenant_id, "event", key, retry=True)
    await retry_event(database, organisation.tenant_id, key)
    event = await one(database, EVENT, key)
    assert (event["state"], event["attempts"], event["body_state"]) == ("new", 0, "split")
    assert event["error"] == "its worker died 5 times"
    await take_in(database, sealer)
    await sweep(database, sealer)
    event = await one(database, EVENT, key)
    assert (event["state"], event["error"], event["body_state"]) == ("done", None, "done")
    assert await rows(database, organisation.tenant_id, "SELECT text FROM messages") == [{"text": "At last"}]


async def test_an_event_that_is_let_go_keeps_its_cause_and_loses_what_it_held(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    key = await a_dead_event(database, sealer, organisation)
    await discard_event(database, organisation.tenant_id, key, note="discarded by x")
    await sweep(database, sealer)
    event = await one(database, EVENT, key)
    assert (event["state"], event["kept"], event["body_state"]) == ("discarded", False, "done")
    assert event["error"] == "its worker died 5 times; discarded by x"
    assert await rows(database, organisation.tenant_id, "SELECT FROM messages") == []


async def test_a_body_that_still_has_a_dead_event_stays_dead(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    first, second = [await a_dead_event(database, sealer, organisation) for _ in range(2)]
    await queue_rows(
        database,
        """UPDATE core.inbox_events SET position = 1, inbox_id = (SELECT inbox_id FROM core.inbox_events WHERE id = %s)
           WHERE id = %s""",
        first, second,
    )  # fmt: skip
    await discard_event(database, organisation.tenant_id, first, note="")
    await sweep(database, sealer)
    assert (await one(database, EVENT, second))["body_state"] == "dead"


async def test_what_was_erased_cannot_be_retried_but_let_go(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    body = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    event = await a_dead_event(database, sealer, organisation)
    for table, key in (("inbox", body), ("inbox_events", event)):
        await queue_rows(
            database, f"UPDATE core.{table} SET received_at = received_at - interval '31 days' WHERE id = %s", key
        )
    await sweep(database, sealer)
    kinds: list[tuple[InboxKind, int]] = [("body", body), ("event", event)]
    for kind, key in kinds:
        with pytest.raises(Conflict, match="erased 30 days after"):
            await look_as(database, organisation.tenant_id, kind, key, retry=True)
        await look_as(database, organisation.tenant_id, kind, key, retry=False)
    await discard_body(database, organisation.tenant_id, body, note="")
    await discard_event(database, organisation.tenant_id, event, note="")
    assert (await one(database, BODY, body))["state"] == "discarded"
    assert (await one(database, EVENT, event))["state"] == "discarded"


async def test_a_body_that_was_split_is_no_dead_letter_but_its_events_are(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    event = await a_dead_event(database, sealer, organisation)
    [row] = await queue_rows(database, "SELECT inbox_id FROM core.inbox_events WHERE id = %s", event)
    with pytest.raises(Conflict, match="was split"):
        await look_as(database, organisation.tenant_id, "body", row["inbox_id"], retry=True)
    with pytest.raises(Conflict, match="not dead any more"):
        await retry_body(database, organisation.tenant_id, row["inbox_id"])


async def test_what_is_not_dead_is_refused_by_its_state(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    body = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    event = await a_dead_event(database, sealer, organisation)
    await retry_body(database, organisation.tenant_id, body)
    await discard_event(database, organisation.tenant_id, event, note="")
    with pytest.raises(Conflict, match="'new'"):
        await look_as(database, organisation.tenant_id, "body", body, retry=False)
    with pytest.raises(Conflict, match="'discarded'"):
        await look_as(database, organisation.tenant_id, "event", event, retry=True)
    with pytest.raises(Conflict):
        await retry_event(database, organisation.tenant_id, event)
    await take_in(database, sealer)


async def test_whose_it_is_not_finds_nothing_and_changes_nothing(
    database: Database, sealer: Sealer, stack: Stack, organisation: Organisation
) -> None:
    stranger = an_organisation(stack.admin_url, sealer).tenant_id
    body = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    event = await a_dead_event(database, sealer, organisation)
    before = [await one(database, BODY, body), await one(database, EVENT, event)]
    for whose in (stranger, None):
        for kind, key in (("body", body), ("event", event)):
            with pytest.raises(NotFound):
                await look_as(database, whose, kind, key, retry=True)  # pyright: ignore[reportArgumentType]  # any kind
        for act in (retry_body(database, whose, body), discard_body(database, whose, body, note="")):
            with pytest.raises(Conflict):
                await act
        with pytest.raises(Conflict):
            await discard_event(database, whose, event, note="")
    with pytest.raises(Conflict):
        await retry_event(database, stranger, event)
    assert [await one(database, BODY, body), await one(database, EVENT, event)] == before


async def test_a_body_of_an_app_belongs_to_nobody_and_is_the_queue_roles(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    the_meta_app(stack.admin_url, sealer)
    key = await a_dead_body(database, sealer, new_id("app"), None, channel="meta")
    await look_as(database, None, "body", key, retry=True)
    await retry_body(database, None, key)
    await take_in(database, sealer)
    await discard_body(database, None, key, note="discarded by x")
    assert (await one(database, BODY, key))["state"] == "discarded"


async def test_a_job_runs_once_more_with_all_its_attempts(database: Database, tenant: TenantId) -> None:
    key = await a_dead_job(database, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        await retry_job(connection, key)
    [row] = await rows(database, tenant, "SELECT state, attempts, error, finished_at FROM core.jobs")
    assert row == {"state": "queued", "attempts": 0, "error": "NotFound: no such message", "finished_at": None}
    ran: list[str] = []

    async def tidy(job: Job) -> None:
        ran.append(job.payload["message_id"])

    for job in await claim_jobs(database, lanes=[tenant], limit=8):
        await run_job(database, {"tidy": tidy}, job)
    assert ran == ["msg_1"]
    [row] = await rows(database, tenant, "SELECT state, attempts, error FROM core.jobs")
    assert row == {"state": "done", "attempts": 1, "error": None}


async def test_a_job_that_was_asked_for_again_meanwhile_is_not_run_twice(
    database: Database, tenant: TenantId, admin_url: str
) -> None:
    first = await a_dead_job(database, tenant, key="k")
    second = await a_dead_job(database, tenant, key="k")
    async with tenant_tx(database, tenant, commit="test") as connection:
        await retry_job(connection, second)
    with pytest.raises(Conflict, match="waits already"):
        async with tenant_tx(database, tenant, commit="test") as connection:
            await retry_job(connection, first)
    await rows(database, tenant, "UPDATE core.jobs SET state = 'dead' WHERE id = %s RETURNING 1", second)

    # The other one is queued after the look and before the change.
    with psycopg.connect(admin_url) as other:
        other.execute("UPDATE core.jobs SET state = 'queued' WHERE id = %s", (second,))

        async def retry_first() -> None:
            async with tenant_tx(database, tenant, commit="test") as connection:
                await retry_job(connection, first)

        task = asyncio.create_task(retry_first())
        await eventually(lambda: waits_for_a_lock(admin_url))
        other.commit()
    with pytest.raises(Conflict, match="waits already"):
        await task


async def test_a_job_that_is_let_go_keeps_its_cause_and_is_never_claimed(database: Database, tenant: TenantId) -> None:
    key = await a_dead_job(database, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        await discard_job(connection, key, note="discarded by x")
    [row] = await rows(database, tenant, "SELECT state, error FROM core.jobs")
    assert row == {"state": "discarded", "error": "NotFound: no such message; discarded by x"}
    assert await claim_jobs(database, lanes=[tenant], limit=8) == []
    with pytest.raises(Conflict, match="'discarded'"):
        async with tenant_tx(database, tenant, commit="test") as connection:
            await retry_job(connection, key)


async def test_another_tenants_job_is_not_found(database: Database, tenant: TenantId, admin_url: str) -> None:
    key = await a_dead_job(database, tenant)
    stranger = create_tenant(admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    with pytest.raises(NotFound):
        async with tenant_tx(database, stranger, commit="test") as connection:
            await retry_job(connection, key)
    with pytest.raises(NotFound):
        async with tenant_tx(database, stranger, commit="test") as connection:
            await discard_job(connection, key, note="")
    assert await rows(database, tenant, "SELECT state FROM core.jobs") == [{"state": "dead"}]
