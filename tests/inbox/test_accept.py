import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.crypto import Sealer
from core.errors import NotDurable, Overloaded
from core.ids import AccountId, new_id
from core.settings import DatabaseSettings
from db.pools import Database, open_database
from db.transactions import queue_tx
from inbox.accept import QUEUE_ROWS_MAX, Acceptor, open_acceptor
from inbox.blobs import open_body
from tests.conftest import Stack


class Bell:
    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        self.rings += 1


@pytest.fixture
async def acceptor(database: Database, sealer: Sealer) -> AsyncIterator[Acceptor]:
    async with open_acceptor(database, sealer, ring=lambda: None) as opened:
        yield opened


@pytest.fixture
def source() -> AccountId:
    return AccountId(new_id("acc"))


async def accept(acceptor: Acceptor, source: str, body: bytes, **fields: Any) -> bool | None:
    usual: dict[str, Any] = {"tenant_id": None, "channel": "whatsapp", "verdict": "signed", "trace_id": "0" * 32}
    return await acceptor.accept(body, source_id=source, **(usual | fields))


async def stored(database: Database, source: str) -> list[dict[str, Any]]:
    async with queue_tx(database, commit="test") as connection:
        cursor = await connection.execute("SELECT * FROM core.inbox WHERE source_id = %s ORDER BY id", (source,))
        return await cursor.fetchall()


@asynccontextmanager
async def locked_inbox(admin_url: str) -> AsyncGenerator[None]:
    """Nobody can insert into the inbox meanwhile."""
    async with await psycopg.AsyncConnection.connect(admin_url) as connection:
        await connection.execute("LOCK TABLE core.inbox IN SHARE MODE")
        yield


async def test_a_body_is_stored_sealed_and_opens_again(
    acceptor: Acceptor, database: Database, sealer: Sealer, source: AccountId
) -> None:
    body = b'{"text":"hello \x00 world"}'
    await accept(acceptor, source, body, trace_id="a" * 32)
    (row,) = await stored(database, source)
    assert body not in row["body_sealed"]
    assert await open_body(sealer, row) == body
    assert row["dedupe_key"] == hashlib.sha256(body).digest()
    assert (row["state"], row["body_bytes"], row["trace_id"]) == ("new", len(body), "a" * 32)


async def test_the_same_body_of_the_same_source_is_stored_once(
    acceptor: Acceptor, database: Database, source: AccountId
) -> None:
    assert await accept(acceptor, source, b"once") is True
    assert await accept(acceptor, source, b"once") is False
    assert len(await stored(database, source)) == 1


async def test_the_same_body_of_two_sources_is_two_bodies(acceptor: Acceptor, database: Database) -> None:
    first, second = new_id("acc"), new_id("acc")
    await asyncio.gather(accept(acceptor, first, b"same"), accept(acceptor, second, b"same"))
    assert len(await stored(database, first)) == len(await stored(database, second)) == 1


async def test_sixty_four_identical_bodies_at_once_are_one_row(
    acceptor: Acceptor, database: Database, source: AccountId
) -> None:
    await asyncio.gather(*(accept(acceptor, source, b"again") for _ in range(64)))
    assert len(await stored(database, source)) == 1


async def test_bodies_keep_the_order_in_which_they_came(
    acceptor: Acceptor, database: Database, source: AccountId
) -> None:
    bodies = [f"message {number}".encode() for number in range(300)]
    await asyncio.gather(*(accept(acceptor, source, body) for body in bodies))
    digests = [hashlib.sha256(body).digest() for body in bodies]
    assert [row["dedupe_key"] for row in await stored(database, source)] == digests


async def test_whatever_waits_shares_one_commit(
    database: Database, sealer: Sealer, source: AccountId, admin_url: str
) -> None:
    bell = Bell()
    async with open_acceptor(database, sealer, ring=bell.ring) as acceptor:
        async with locked_inbox(admin_url):
            first = asyncio.create_task(accept(acceptor, source, b"first"))
            await until_waiting_for_a_lock(admin_url)
            rest = [asyncio.create_task(accept(acceptor, source, b"%d" % number)) for number in range(100)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *rest)
    assert bell.rings == 2
    assert len(await stored(database, source)) == 101


@pytest.mark.parametrize("bad", [0, 7, 63])
async def test_one_row_that_the_database_refuses_does_not_fail_its_neighbours(
    acceptor: Acceptor, database: Database, source: AccountId, bad: int
) -> None:
    outcomes = await asyncio.gather(
        *(
            accept(acceptor, source, b"%d" % number, verdict="nonsense" if number == bad else "signed")
            for number in range(64)
        ),
        return_exceptions=True,
    )
    refused = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert refused == [bad]
    assert isinstance(outcomes[bad], NotDurable)
    assert len(await stored(database, source)) == 63


@pytest.mark.parametrize("trace_id", ["nul \x00 byte", "lone surrogate \ud800"])
async def test_text_that_the_database_cannot_hold_is_refused_alone(
    acceptor: Acceptor, database: Database, source: AccountId, trace_id: str
) -> None:
    outcomes = await asyncio.gather(
        accept(acceptor, source, b"good"),
        accept(acceptor, source, b"bad", trace_id=trace_id),
        accept(acceptor, source, b"good too"),
        return_exceptions=True,
    )
    assert [isinstance(outcome, NotDurable) for outcome in outcomes] == [False, True, False]
    assert len(await stored(database, source)) == 2


async def test_a_connection_that_died_is_passed_over_and_nothing_is_called_a_duplicate_that_may_be_new(
    acceptor: Acceptor, database: Database, source: AccountId, admin_url: str
) -> None:
    await accept(acceptor, source, b"before")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chowk tests'")
    assert await accept(acceptor, source, b"after") is None
    assert len(await stored(database, source)) == 2


async def test_nothing_is_accepted_while_the_database_is_away(stack: Stack, sealer: Sealer, source: AccountId) -> None:
    opened = await open_database(DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url}), application="away")
    async with open_acceptor(opened, sealer, ring=lambda: None) as acceptor:
        await opened.close()
        with pytest.raises(NotDurable):
            await accept(acceptor, source, b"lost")


async def test_a_database_that_hangs_is_reported_and_what_follows_is_refused_at_once(
    database: Database, sealer: Sealer, source: AccountId, admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inbox.accept.COMMIT_TIMEOUT_S", 0.2)
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:
        async with locked_inbox(admin_url):
            with pytest.raises(NotDurable, match="has not answered"):
                await accept(acceptor, source, b"hangs")
            with pytest.raises(NotDurable, match="has not answered"):
                await accept(acceptor, source, b"comes after")
        while True:
            try:
                await accept(acceptor, source, b"hangs")
                break
            except NotDurable:
                await asyncio.sleep(0.01)
    assert len(await stored(database, source)) == 1


async def test_too_many_waiting_bodies_are_shed(
    database: Database, sealer: Sealer, source: AccountId, admin_url: str
) -> None:
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:
        async with locked_inbox(admin_url):
            first = asyncio.create_task(accept(acceptor, source, b"first"))
            await until_waiting_for_a_lock(admin_url)
            waiting = [asyncio.create_task(accept(acceptor, source, b"%d" % n)) for n in range(QUEUE_ROWS_MAX)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded):
                await accept(acceptor, source, b"one too many")
        await asyncio.gather(first, *waiting)
    assert len(await stored(database, source)) == QUEUE_ROWS_MAX + 1


async def test_a_sender_that_left_does_not_disturb_the_others(
    database: Database, sealer: Sealer, source: AccountId, admin_url: str
) -> None:
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:
        async with locked_inbox(admin_url):
            gone = asyncio.create_task(accept(acceptor, source, b"gone"))
            stays = asyncio.create_task(accept(acceptor, source, b"stays"))
            await until_waiting_for_a_lock(admin_url)
            gone.cancel()
        assert await stays is None
    assert len(await stored(database, source)) == 2


async def test_what_waits_is_stored_before_the_acceptor_closes(
    database: Database, sealer: Sealer, source: AccountId
) -> None:
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:
        waiting = [asyncio.create_task(accept(acceptor, source, b"%d" % number)) for number in range(20)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert len(await stored(database, source)) == 20


async def test_two_processes_that_store_the_same_bodies_in_opposite_orders_both_succeed(
    database: Database, sealer: Sealer
) -> None:
    sources = [AccountId(new_id("acc")) for _ in range(8)]
    for source in sources:
        bodies = [b"%d" % number for number in range(128)]
        async with (
            open_acceptor(database, sealer, ring=lambda: None) as one,
            open_acceptor(database, sealer, ring=lambda: None) as other,
        ):
            await asyncio.gather(
                *(accept(one, source, body) for body in bodies),
                *(accept(other, source, body) for body in reversed(bodies)),
            )
        assert len(await stored(database, source)) == 128


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=200), max_size=30))
async def test_every_accepted_body_is_there_once_and_opens(
    acceptor: Acceptor, database: Database, sealer: Sealer, bodies: list[bytes]
) -> None:
    source = new_id("acc")
    await asyncio.gather(*(accept(acceptor, source, body) for body in bodies))
    opened = [await open_body(sealer, row) for row in await stored(database, source)]
    assert opened == list(dict.fromkeys(bodies))


async def until_waiting_for_a_lock(admin_url: str) -> None:
    """Return once an insert into the inbox waits."""
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        while True:
            cursor = await connection.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO core.inbox%'"
            )
            if await cursor.fetchone():
                return
            await asyncio.sleep(0.01)
