"""Scheduling: one INSERT in the caller's own transaction. Claiming and running is `inbox.jobs`."""

from collections.abc import Mapping
from datetime import datetime

from psycopg.types.json import Jsonb

from core.ids import JobId, TenantId, new_id
from core.telemetry import trace_id
from db.pools import Connection


async def schedule(
    connection: Connection,
    *,
    tenant_id: TenantId,
    kind: str,
    unique_key: str,
    due_at: datetime,
    payload: Mapping[str, object] | None = None,
    lane: str = "background",
) -> None:
    """Have a job of this kind run once at `due_at`; a queued one with the same key takes the new time.

    `payload` holds references, never text or secrets.
    """
    await connection.execute(
        """
        INSERT INTO core.jobs (id, tenant_id, kind, unique_key, lane, due_at, payload, trace_id)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (tenant_id, kind, unique_key) WHERE state = 'queued' DO UPDATE SET due_at = excluded.due_at
        """,
        (JobId(new_id("job")), tenant_id, kind, unique_key, lane, due_at, Jsonb(dict(payload or {})), trace_id.get()),
    )
