"""What is read, by the agent and in listings, stands in the order in which it was said."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.crypto import Sealer
from core.ids import ConversationId, RunId, TenantId
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from graphs.run_claim import ClaimedRun
from graphs.turn_start import turn_input
from inbox.order import DELAY_D_MAX, SAID_AT
from tests.builders import Organisation, a_number, a_text, an_organisation, receive, rows
from tests.conftest import Stack

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
ORDERED = f"SELECT text FROM messages ORDER BY {SAID_AT}, sequence"
SAID = f"""
SELECT {SAID_AT} AS said_at
FROM unnest(%s::timestamptz[], %s::timestamptz[]) WITH ORDINALITY AS message (provider_ts, received_ts, n) ORDER BY n
"""


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


async def said_at(database: Database, pairs: Sequence[tuple[datetime | None, datetime]]) -> list[datetime]:
    """When messages with these times of the provider and of their receipt count as said."""
    values = ([said for said, _ in pairs], [received for _, received in pairs])
    async with queue_tx(database, commit="test") as connection:
        return [row["said_at"] for row in await (await connection.execute(SAID.encode(), values)).fetchall()]


async def read_by_the_agent(database: Database, tenant: TenantId) -> list[str]:
    """The texts that the waiting turn would be given."""
    (turn,) = await rows(
        database,
        tenant,
        "SELECT id, conversation_id, thread_id, lease_id, kind, graph FROM core.runs WHERE kind = 'turn'",
    )
    claimed = ClaimedRun(
        RunId(turn["id"]), tenant, ConversationId(turn["conversation_id"]), turn["kind"], turn["graph"],
        turn["thread_id"], dry_run=False, lease_id=turn["lease_id"], fence=1, attempts=1, trace_id="",
    )  # fmt: skip
    async with tenant_tx(database, tenant, commit="test") as connection:
        given_to_the_graph = await turn_input(connection, claimed)
    assert given_to_the_graph is not None
    return [message["text"] for message in given_to_the_graph["trigger"]]


async def test_messages_whose_webhooks_came_in_reverse_are_read_in_the_order_in_which_they_were_said(
    database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    sender, now = a_number(), int(time.time())
    said = ["Hello", "I gave money last week", "and again yesterday", "Can I get one receipt for both?"]
    messages = [a_text(text, sender=sender, timestamp=now - 60 + 5 * n) for n, text in enumerate(said)]
    for message in reversed(messages):
        await receive(database, sealer, organisation, message)
    assert await read_by_the_agent(database, organisation.tenant_id) == said
    assert [row["text"] for row in await rows(database, organisation.tenant_id, ORDERED)] == said


@pytest.mark.parametrize("wrong_by", [-(10**9), 10**9], ids=["far in the past", "far in the future"])
async def test_a_message_with_a_wrong_clock_stands_where_it_came_and_moves_no_other(
    database: Database, sealer: Sealer, organisation: Organisation, wrong_by: int
) -> None:
    sender, now = a_number(), int(time.time())
    first, second, third = [
        a_text(text, sender=sender, timestamp=now - 60 + n) for n, text in enumerate(("one", "two", "three"))
    ]
    wrong = a_text("by a wrong clock", sender=sender, timestamp=now + wrong_by)
    for message in (second, first, wrong, third):
        await receive(database, sealer, organisation, message)
    texts = await read_by_the_agent(database, organisation.tenant_id)
    assert [text for text in texts if text != "by a wrong clock"] == ["one", "two", "three"]
    assert texts[-1] == "by a wrong clock"
    stored = await rows(
        database, organisation.tenant_id,
        "SELECT extract(epoch FROM provider_ts)::bigint AS said FROM messages WHERE text = 'by a wrong clock'",
    )  # fmt: skip
    assert stored == [{"said": now + wrong_by}]


async def test_a_time_in_whole_seconds_means_any_moment_of_that_second_before_the_receipt(database: Database) -> None:
    late, second = NOON + timedelta(hours=1), timedelta(seconds=1)
    assert await said_at(
        database,
        [
            (None, late),
            (NOON, late),
            (NOON, NOON + timedelta(milliseconds=300)),
            (NOON + timedelta(milliseconds=250), late),
            (NOON + timedelta(minutes=5), NOON),
            (NOON, NOON + timedelta(days=DELAY_D_MAX)),
            (NOON, NOON + timedelta(days=DELAY_D_MAX) + second),
        ],
    ) == [
        late,
        NOON + timedelta(microseconds=999_999),
        NOON + timedelta(milliseconds=300),
        NOON + timedelta(milliseconds=250),
        NOON,
        NOON + timedelta(microseconds=999_999),
        NOON + timedelta(days=DELAY_D_MAX) + second,
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    messages=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, DELAY_D_MAX * 86_000), st.booleans()), min_size=2, max_size=12
    )
)
async def test_what_was_said_in_a_later_second_stands_later_whatever_the_delays(
    database: Database, messages: list[tuple[int, int, bool]]
) -> None:
    """A delay is how many seconds after it was said a message is received; some providers give whole seconds."""
    true = [NOON + timedelta(milliseconds=said_ms) for said_ms, _, _ in messages]
    pairs = [
        (said.replace(microsecond=0) if whole else said, said + timedelta(seconds=delay_s))
        for said, (_, delay_s, whole) in zip(true, messages, strict=True)
    ]
    found = list(zip(true, await said_at(database, pairs), strict=True))
    for earlier, as_earlier in found:
        for later, as_later in found:
            if earlier.replace(microsecond=0) < later.replace(microsecond=0):
                assert as_earlier < as_later


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    provider_ts=st.datetimes(datetime(1970, 1, 1), datetime(5000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # bounds are naive
)
async def test_no_clock_puts_a_message_behind_its_receipt_or_long_before_it(
    database: Database, provider_ts: datetime
) -> None:
    (found,) = await said_at(database, [(provider_ts, NOON)])
    assert NOON - timedelta(days=DELAY_D_MAX) <= found <= NOON
