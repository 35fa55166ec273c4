"""A worker is killed in every gap between two commits of a message's way; the message is answered once all the same."""

import asyncio
import os
import signal
import sys

import pytest

from core.crypto import Sealer
from db.pools import Database
from db.transactions import queue_tx
from memory.publishing import publish_articles
from models.embedder import local_embedder
from tests.builders import Organisation, a_body, a_change, a_number, a_text, an_organisation, rows, store
from tests.conftest import Stack
from tests.graphs.test_run import ARTICLES

COMMITS = ("inbox.claim", "inbox.split", "events.claim", "explode", "runs.claim", "run.start", "run.commit")
POINTS = [f"{commit}.{side}" for commit in COMMITS for side in ("before_commit", "after_commit")]


async def a_round(organisation: Organisation, *, fault: str = "") -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.graphs.one_round", organisation.tenant_id, env=os.environ | {"CHOWK_FAULT": fault}
    )
    return await process.wait()


async def let_leases_end(database: Database, organisation: Organisation) -> None:
    past = "lease_until = clock_timestamp() - interval '1 s'"
    async with queue_tx(database, commit="test") as connection:
        for table, column, value in (
            ("inbox", "source_id", organisation.account_id),
            ("inbox_events", "tenant_id", organisation.tenant_id),
            ("conversation_leases", "tenant_id", organisation.tenant_id),
            ("runs", "tenant_id", organisation.tenant_id),
        ):
            await connection.execute(f"UPDATE core.{table} SET {past} WHERE {column} = %s".encode(), (value,))


@pytest.mark.parametrize("point", POINTS)
async def test_a_message_is_answered_once_wherever_the_worker_dies(
    database: Database, stack: Stack, sealer: Sealer, point: str
) -> None:
    organisation = an_organisation(stack.admin_url, sealer)
    await publish_articles(database, organisation.tenant_id, ARTICLES, local_embedder())
    message = a_text("Can I get a tax receipt for my donation?", sender=a_number())
    body = a_body([a_change(organisation.phone_number_id, messages=[message])])
    await store(database, sealer, organisation.account_id, body)
    assert await a_round(organisation, fault=point) == -signal.SIGKILL
    await let_leases_end(database, organisation)
    assert await a_round(organisation) == 0
    messages = await rows(database, organisation.tenant_id, "SELECT direction, run_id FROM messages ORDER BY sequence")
    assert [row["direction"] for row in messages] == ["inbound", "outbound"]
    assert messages[0]["run_id"] == messages[1]["run_id"] is not None
    runs = await rows(database, organisation.tenant_id, "SELECT state, outcome FROM core.runs")
    assert runs == [{"state": "succeeded", "outcome": "answered"}]
    effects = await rows(database, organisation.tenant_id, "SELECT FROM core.effects WHERE kind = 'send'")
    assert len(effects) == 1
