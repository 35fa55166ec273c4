import argparse

import psycopg

from bench.fairness import BACKLOGS, report
from bench.fifo_claim import fifo_inbox
from core.crypto import Sealer
from db.pools import Database
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import Organisation, a_body, a_change, a_number, a_text, an_organisation, rows, store, take_in
from tests.conftest import Stack

ASKED = argparse.Namespace(flood=10, backlog=20, rounds=2)
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN ('inbox', 'inbox_events') ORDER BY indexname"


async def one_round_behind_a_flood(database: Database, sealer: Sealer, stack: Stack) -> list[int]:
    """How many messages of a flooding and of a small tenant are written after one round."""
    flooding, small = (an_organisation(stack.admin_url, sealer) for _ in range(2))
    await take_in(database, sealer)
    for organisation, count in ((flooding, 12), (small, 1)):
        for _ in range(count):
            message = a_text("hello", sender=a_number())
            body = a_body([a_change(organisation.phone_number_id, messages=[message])])
            await store(database, sealer, organisation.account_id, body, tenant_id=organisation.tenant_id)
    await split_due(database, sealer, limit=8)
    await explode_due(database, sealer, limit=8)
    written = [await messages(database, organisation) for organisation in (flooding, small)]
    await take_in(database, sealer)
    return written


async def messages(database: Database, organisation: Organisation) -> int:
    return len(await rows(database, organisation.tenant_id, "SELECT FROM messages"))


async def test_the_peer_serves_who_came_first_and_leaves_everything_as_it_was(
    database: Database, sealer: Sealer, stack: Stack, admin_url: str
) -> None:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        before = admin.execute(INDEXES).fetchall()
        with fifo_inbox(admin_url):
            assert await one_round_behind_a_flood(database, sealer, stack) == [8, 0]
        assert admin.execute(INDEXES).fetchall() == before
    assert await one_round_behind_a_flood(database, sealer, stack) == [7, 1]


def test_the_least_disturbed_round_is_reported_and_the_waits_are_compared() -> None:
    rounds = [{"wall_us": 30.04, "cpu_us": 20.0}, {"wall_us": 40.0, "cpu_us": 10.0}]
    found = {
        "claims": {name: {"fair": rounds, "fifo": rounds} for name in BACKLOGS},
        "waits": {"fair": {"other_tenant_s": 0.2}, "fifo": {"other_tenant_s": 9.0}},
    }
    result = report(found, asked=ASKED)
    assert result["fifo_times_fair"] == {"other_tenant_s": 45.0}
    assert result["claims"]["empty"]["fair"] == {"wall_us": 30.0, "cpu_us": 10.0}
