import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from itertools import groupby

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.crypto import Sealer
from core.ids import new_id
from db.pools import Database
from inbox.claim import ATTEMPTS_MAX, Row, claim_bodies, claim_events
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import a_body, a_change, a_number, a_text, an_organisation, rows, store
from tests.conftest import Stack

A_BODY = """
INSERT INTO core.inbox (source_id, channel, verdict, dedupe_key, body_bytes, state)
VALUES ('fair', 'whatsapp', 'signed', sha256(%s::text::bytea), 1, 'done') RETURNING id
"""

EVENTS = """
INSERT INTO core.inbox_events (inbox_id, position, tenant_id, account_id, event_key, kind, received_at)
SELECT %(body)s, n, %(tenant)s, %(account)s, %(account)s || n, 'message_received', now()
FROM generate_series(1, %(count)s) n
"""

BODIES = """
INSERT INTO core.inbox (source_id, tenant_id, channel, verdict, dedupe_key, body_bytes)
SELECT %(source)s, %(tenant)s, 'whatsapp', 'signed', sha256((%(source)s || n)::bytea), 1
FROM generate_series(1, %(count)s) n
"""

EMPTY = """
UPDATE core.inbox SET state = 'done' WHERE state = 'new';
UPDATE core.inbox_events SET state = 'done' WHERE state = 'new';
"""


class Queues:
    """The queues of the inbox, to be filled with rows of made-up tenants and accounts."""

    def __init__(self, admin: psycopg.Connection) -> None:
        self._admin = admin
        found = admin.execute(A_BODY, (new_id("body"),)).fetchone()
        assert found is not None
        self._body = found[0]

    def add_events(self, tenant: str | None, account: str, count: int) -> None:
        """Put `count` events of an account behind what waits already."""
        self._admin.execute(EVENTS, {"body": self._body, "tenant": tenant, "account": account, "count": count})

    def add_bodies(self, tenant: str | None, source: str, count: int) -> None:
        """Put `count` bodies of a source behind what waits already."""
        self._admin.execute(BODIES, {"tenant": tenant, "source": source, "count": count})

    def set_events(self, account: str, values: str) -> None:
        """Change the events of an account."""
        self._admin.execute(f"UPDATE core.inbox_events SET {values} WHERE account_id = %s".encode(), (account,))

    def empty(self) -> None:
        """Let nothing wait."""
        self._admin.execute(EMPTY)


@pytest.fixture
async def queues(admin_url: str) -> AsyncIterator[Queues]:
    with psycopg.connect(admin_url, autocommit=True) as admin:
        made = Queues(admin)
        made.empty()
        yield made
        made.empty()


def names(*prefixes: str) -> list[str]:
    """Made-up ids, in the order of these prefixes, that no other test uses."""
    mark = new_id("n")
    return [f"{prefix}_{mark}" for prefix in prefixes]


def counted(claimed: list[Row], column: str) -> Mapping[str, int]:
    return Counter(row[column] for row in claimed)


async def test_tenants_take_turns_however_much_one_of_them_sent_first(database: Database, queues: Queues) -> None:
    flooding, busy, small = names("a", "b", "c")
    for tenant, count in ((flooding, 5_000), (busy, 500), (small, 2)):
        queues.add_events(tenant, tenant, count)
    assert counted(await claim_events(database, limit=12), "tenant_id") == {flooding: 5, busy: 5, small: 2}
    assert counted(await claim_events(database, limit=12), "tenant_id") == {flooding: 6, busy: 6}


async def test_accounts_of_a_tenant_take_turns_within_its_share(database: Database, queues: Queues) -> None:
    tenant, other, hot, calm = names("t", "u", "a", "z")
    queues.add_events(tenant, hot, 5_000)
    queues.add_events(tenant, calm, 1)
    queues.add_events(other, other, 50)
    assert counted(await claim_events(database, limit=8), "account_id") == {hot: 3, calm: 1, other: 4}


async def test_what_one_account_sent_is_claimed_in_its_order(database: Database, queues: Queues) -> None:
    tenant, other = names("t", "u")
    queues.add_events(tenant, tenant, 40)
    queues.add_events(other, other, 40)
    claimed = [row for _ in range(8) for row in await claim_events(database, limit=10)]
    for _, of_one in groupby(sorted(claimed, key=lambda row: row["tenant_id"]), key=lambda row: row["tenant_id"]):
        ids = [row["id"] for row in of_one]
        assert len(ids) == 40
        assert ids == sorted(ids)


async def test_a_claim_is_filled_as_long_as_anything_waits(database: Database, queues: Queues) -> None:
    (deep,) = names("deep")
    queues.add_events(deep, deep, 300)
    for number in range(60):
        (shallow,) = names(f"s{number:02d}")
        queues.add_events(shallow, shallow, 1)
    assert [len(await claim_events(database, limit=64)) for _ in range(6)] == [64] * 5 + [40]
    assert await claim_events(database, limit=64) == []


async def test_concurrent_workers_never_claim_the_same_and_leave_nothing(database: Database, queues: Queues) -> None:
    tenants = names(*"abcd")
    for tenant in tenants:
        queues.add_events(tenant, tenant, 30)
        queues.add_bodies(tenant, tenant, 30)
    for claim in (claim_events, claim_bodies):
        ids: list[int] = []
        while any(rounds := await asyncio.gather(*(claim(database, limit=7) for _ in range(4)))):
            ids.extend(row["id"] for claimed in rounds for row in claimed)
        assert len(ids) == len(set(ids)) == 120


async def test_a_leased_event_waits_until_its_lease_is_over_and_is_given_up_after_some_attempts(
    database: Database, queues: Queues
) -> None:
    (tenant,) = names("t")
    queues.add_events(tenant, tenant, 1)
    for attempt in range(1, ATTEMPTS_MAX + 1):
        (row,) = await claim_events(database, limit=5)
        assert (row["attempts"], row["fence"]) == (attempt, attempt)
        assert await claim_events(database, limit=5) == []
        queues.set_events(tenant, "lease_until = now() - interval '1 second'")
    assert await claim_events(database, limit=5) == []


async def test_an_event_of_nobody_is_never_claimed(database: Database, queues: Queues) -> None:
    (source,) = names("s")
    queues.add_events(None, source, 3)
    assert await claim_events(database, limit=5) == []


async def test_bodies_are_claimed_in_turns_and_those_of_an_app_count_as_the_apps(
    database: Database, queues: Queues
) -> None:
    app, tenant, small, one, two, its = names("app", "t", "u", "acc1", "acc2", "acc3")
    queues.add_bodies(None, app, 5_000)
    queues.add_bodies(tenant, one, 500)
    queues.add_bodies(tenant, two, 500)
    queues.add_bodies(small, its, 1)
    claimed = await claim_bodies(database, limit=9)
    assert counted(claimed, "source_id") == {app: 4, one: 2, two: 2, its: 1}
    assert [row["id"] for row in claimed] == sorted(row["id"] for row in claimed)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=9),
    limit=st.integers(1, 30),
)
async def test_nobody_gets_two_more_than_someone_who_still_waits(
    database: Database, queues: Queues, sent: list[tuple[int, int, int]], limit: int
) -> None:
    queues.empty()
    mark = new_id("n")
    waiting: Counter[tuple[str, str]] = Counter()
    for turn, (tenant, account, count) in enumerate(sent):
        owner, source = f"t{tenant}_{mark}", f"a{tenant}{account}_{mark}_{turn}"
        queues.add_events(owner, source, count)
        waiting[owner, source] += count
    while waiting.total():
        claimed = await claim_events(database, limit=limit)
        got = Counter((row["tenant_id"], row["account_id"]) for row in claimed)
        assert got.total() == min(limit, waiting.total())
        waiting -= got
        of_tenant = Counter(row["tenant_id"] for row in claimed)
        for owner, source in waiting:
            assert all(most <= of_tenant[owner] + 1 for most in of_tenant.values())
            assert all(count <= got[owner, source] + 1 for (who, _), count in got.items() if who == owner)


@pytest.mark.usefixtures("queues")
async def test_a_small_tenants_message_is_written_in_the_first_round_while_another_floods(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    flooding, small = (an_organisation(stack.admin_url, sealer) for _ in range(2))
    people = [a_number() for _ in range(3)]
    for organisation, count in ((flooding, 60), (small, 1)):
        for number in range(count):
            message = a_text(f"message {number}", sender=people[number % 3])
            body = a_body([a_change(organisation.phone_number_id, messages=[message])])
            await store(database, sealer, organisation.account_id, body, tenant_id=organisation.tenant_id)
    written: list[tuple[int, int]] = []
    while await split_due(database, sealer, limit=10) + await explode_due(database, sealer, limit=10):
        many, few = [
            len(await rows(database, organisation.tenant_id, "SELECT FROM messages"))
            for organisation in (flooding, small)
        ]
        written.append((many, few))
    assert written == [(9, 1), (19, 1), (29, 1), (39, 1), (49, 1), (59, 1), (60, 1)]
    of_each = await rows(
        database, flooding.tenant_id,
        "SELECT array_agg(text ORDER BY sequence) AS texts FROM messages GROUP BY conversation_id",
    )  # fmt: skip
    expected = [[f"message {number}" for number in range(first, 60, 3)] for first in range(3)]
    assert sorted(row["texts"] for row in of_each) == sorted(expected)
