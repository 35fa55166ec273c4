"""The peer of our claim: whatever came first, whoever sent it, as most queues have it, on indexes made for it."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from unittest.mock import patch

import psycopg

from db.pools import Database
from db.transactions import queue_tx
from inbox import explode, split
from inbox.claim import ATTEMPTS_MAX, LEASE_S, Row

CLAIM: Final = """
UPDATE core.{table} SET lease_until = clock_timestamp() + make_interval(secs => {lease_s}), fence = fence + 1,
       attempts = attempts + 1
WHERE id IN (
  SELECT id FROM core.{table}
  WHERE state = 'new' AND attempts < {attempts_max} AND (lease_until IS NULL OR lease_until < clock_timestamp())
  ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING {columns}
"""
BODIES: Final = CLAIM.format(
    table="inbox", lease_s=LEASE_S, attempts_max=ATTEMPTS_MAX,
    columns="id, source_id, tenant_id, channel, body_sealed, body_wrapped_key, body_blob, attempts, fence, trace_id, "
            "received_at",
).encode()  # fmt: skip
EVENTS: Final = CLAIM.format(
    table="inbox_events", lease_s=LEASE_S, attempts_max=ATTEMPTS_MAX,
    columns="id, tenant_id, account_id, event_sealed, event_wrapped_key, attempts, fence, trace_id, received_at",
).encode()  # fmt: skip


async def fifo_bodies(database: Database, *, limit: int) -> list[Row]:
    """Claim the oldest bodies."""
    return await _claim(database, BODIES, limit)


async def fifo_events(database: Database, *, limit: int) -> list[Row]:
    """Claim the oldest events."""
    return await _claim(database, EVENTS, limit)


@contextmanager
def fifo_inbox(admin_url: str) -> Generator[None, None, None]:
    """Meanwhile the inbox is split and exploded in the order of its ids, and has the indexes for that alone."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        fair = {table: _index_of(admin, table) for table in ("inbox", "inbox_events")}
        for table in fair:
            admin.execute(f"DROP INDEX core.{table}_new".encode())
            admin.execute(f"CREATE INDEX {table}_new ON core.{table} (id) WHERE state = 'new'".encode())
        with patch.object(split, "claim_bodies", fifo_bodies), patch.object(explode, "claim_events", fifo_events):
            yield
        for table, definition in fair.items():
            admin.execute(f"DROP INDEX core.{table}_new".encode())
            admin.execute(definition)


def _index_of(admin: psycopg.Connection, table: str) -> bytes:
    row = admin.execute("SELECT pg_get_indexdef(%s::regclass) AS definition", (f"core.{table}_new",)).fetchone()
    assert row is not None
    return str(row[0]).encode()


async def _claim(database: Database, statement: bytes, limit: int) -> list[Row]:
    async with queue_tx(database, commit="bench.claim") as connection:
        rows = await (await connection.execute(statement, {"limit": limit})).fetchall()
    return sorted(rows, key=lambda row: row["id"])
