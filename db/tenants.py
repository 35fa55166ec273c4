"""The tenants of this installation."""

from dataclasses import dataclass
from typing import Any

from core.ids import TenantId
from db.pools import Database
from db.transactions import queue_tx


@dataclass(frozen=True, slots=True)
class Tenant:
    """One organisation. `settings` holds its profile, among others."""

    id: TenantId
    slug: str
    name: str
    settings: dict[str, Any]  # Any: JSON, of which each reader checks its own part


async def list_tenants(database: Database) -> list[Tenant]:
    """Every tenant, the oldest first.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    async with queue_tx(database, commit="tenants") as connection:
        cursor = await connection.execute("SELECT id, slug, name, settings FROM core.tenants ORDER BY id")
        return [Tenant(**row) for row in await cursor.fetchall()]
