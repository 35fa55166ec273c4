"""The tenants of this installation."""

from dataclasses import dataclass
from typing import Any

from core.ids import TenantId
from db.pools import Database
from db.transactions import queue_tx

#: Every tenant with the version in its schema's comment, and whether its role is there, the oldest tenant first.
SCHEMAS = """
SELECT t.id AS tenant_id, t.slug, d.description AS version, r.rolname IS NOT NULL AS has_role
FROM core.tenants t
LEFT JOIN pg_namespace n ON n.nspname = t.id
LEFT JOIN pg_description d ON d.objoid = n.oid AND d.classoid = 'pg_namespace'::regclass AND d.objsubid = 0
LEFT JOIN pg_roles r ON r.rolname = t.id
ORDER BY t.id
"""


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


async def tenant_versions(database: Database) -> dict[str, str | None]:
    """The version of every tenant's schema by the tenant's slug, in one query; None where there is none.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    async with queue_tx(database, commit="tenants.versions") as connection:
        cursor = await connection.execute(SCHEMAS.encode())
        return {row["slug"]: row["version"] for row in await cursor.fetchall()}
