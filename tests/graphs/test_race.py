"""Two workers race for one conversation into which a person pours messages."""

import asyncio
import sys

from core.crypto import Sealer
from db.pools import Database
from memory.publishing import publish_articles
from models.embedder import local_embedder
from tests.builders import a_body, a_change, a_number, a_text, an_organisation, rows, store
from tests.conftest import Stack
from tests.graphs.test_run import ARTICLES

MESSAGES = 200
AT_ONCE = 4

#: Runs of the conversation that were at work when another one was.
OVERLAPS = """
SELECT a.id, b.id AS other FROM core.runs a JOIN core.runs b ON a.id < b.id
WHERE (SELECT min(s.started_at) FROM core.run_steps s WHERE s.run_id = a.id) < b.finished_at
  AND (SELECT min(s.started_at) FROM core.run_steps s WHERE s.run_id = b.id) < a.finished_at
  AND a.kind = 'turn' AND b.kind = 'turn' AND a.outcome <> 'nothing_to_answer' AND b.outcome <> 'nothing_to_answer'
"""


async def test_every_one_of_200_messages_is_answered_by_one_run_and_runs_never_overlap(
    database: Database, stack: Stack, sealer: Sealer
) -> None:
    organisation = an_organisation(stack.admin_url, sealer)
    await publish_articles(database, organisation.tenant_id, ARTICLES, local_embedder())
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.graphs.racer", organisation.tenant_id, stdin=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    sender = a_number()
    for first in range(0, MESSAGES, AT_ONCE):
        messages = [
            a_text(f"{number}. what are your office timings?", sender=sender, timestamp=1_790_000_000 + number)
            for number in range(first, first + AT_ONCE)
        ]
        body = a_body([a_change(organisation.phone_number_id, messages=messages)])
        await store(database, sealer, organisation.account_id, body)
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
    assert [await racer.wait() for racer in racers] == [0, 0]
    tenant_id = organisation.tenant_id
    transcript = await rows(
        database, tenant_id,
        "SELECT text, run_id, needs_answer FROM messages WHERE direction = 'inbound' ORDER BY provider_ts, sequence",
    )  # fmt: skip
    assert [int(row["text"].split(".")[0]) for row in transcript] == list(range(MESSAGES))
    answered_by = [row["run_id"] for row in transcript]
    assert None not in answered_by
    runs = await rows(
        database, tenant_id,
        "SELECT id, state, outcome, input FROM core.runs WHERE kind = 'turn' AND outcome <> 'nothing_to_answer'",
    )  # fmt: skip
    assert {row["state"] for row in runs} == {"succeeded"}
    counted = [row["id"] for row in runs if row["outcome"] != "superseded" for _ in row["input"]["trigger"]]
    assert sorted(counted) == sorted(answered_by)
    assert await rows(database, tenant_id, OVERLAPS) == []
