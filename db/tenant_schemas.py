"""One tenant's schema: at which version it is, and what brings it to another.

The version's record is the table `schema_version` in the schema, as Alembic keeps it. The schema's comment repeats it,
written in the same transaction: the comments of all schemas are read in one query, by anybody, and without opening a
table of every tenant.
"""

from dataclasses import dataclass

from core.errors import Broken
from core.ids import TenantId, is_id
from db.administrator import MIGRATION_LOCK, MIGRATION_LOCK_TIMEOUT_MS, Session
from db.roles import admit_tenant_role, create_tenant_role
from db.tenants import SCHEMAS
from db.versions import number, upgrade_sql

#: What there is of a tenant in the database.
FOUND = """
SELECT to_regrole(%(tenant_id)s) IS NOT NULL AS has_role,
       to_regnamespace(%(tenant_id)s) IS NOT NULL AS has_schema,
       to_regclass(%(tenant_id)s || '.schema_version') IS NOT NULL AS has_versions
"""
#: What the tenant may do with its tables; those that a later version makes too.
RIGHTS = "SELECT, INSERT, UPDATE, DELETE"


@dataclass(frozen=True, slots=True)
class TenantSchema:
    """A tenant as a migration sees it. `version` is None where its schema has none, or is missing."""

    tenant_id: TenantId
    slug: str
    version: str | None
    has_role: bool

    def is_behind(self, target: str) -> bool:
        """Whether there is something to do for it to be at `target` or beyond."""
        return not self.has_role or number(self.version) < number(target)


def list_schemas(connection: Session) -> list[TenantSchema]:
    """Every tenant's, the oldest first, in one query."""
    with connection.transaction():
        connection.execute("SET LOCAL ROLE chowk_owner")
        return [TenantSchema(**row) for row in connection.execute(SCHEMAS.encode()).fetchall()]


def bring_up(connection: Session, tenant_id: TenantId, target: str) -> bool:
    """Within the caller's transaction make what is missing of a tenant's role and schema, and bring it to `target`.

    Gives whether anything was left to do: beside another that does the same, the later one finds it done.

    Raises:
        psycopg.errors.LockNotAvailable: somebody holds a lock on what is to be changed.
        psycopg.Error: the schema is not what its version says.
    """
    if not is_id(tenant_id, "t"):
        raise Broken(f"{tenant_id!r} is not a tenant id")
    connection.execute(
        f"SET LOCAL lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}; "
        f"SELECT pg_advisory_xact_lock(hashtextextended('{tenant_id}', {MIGRATION_LOCK}))".encode()
    )
    found = connection.execute(FOUND, {"tenant_id": tenant_id}).fetchone()
    assert found is not None
    start = _version(connection, tenant_id) if found["has_versions"] else None
    _make_missing(connection, tenant_id, has_role=found["has_role"], has_schema=found["has_schema"])
    behind = number(start) < number(target)
    connection.execute(
        f"""SET LOCAL ROLE chowk_owner;
            SET LOCAL search_path TO {tenant_id}, public;
            {upgrade_sql(start, target) if behind else ""}
            COMMENT ON SCHEMA {tenant_id} IS '{target if behind else start}';
            SET LOCAL ROLE NONE""".encode()
    )
    if not found["has_role"]:
        admit_tenant_role(connection, tenant_id)
    return behind or not found["has_role"]


def _version(connection: Session, tenant_id: TenantId) -> str | None:
    row = connection.execute(f"SELECT version_num FROM {tenant_id}.schema_version".encode()).fetchone()
    return None if row is None else row["version_num"]


def _make_missing(connection: Session, tenant_id: TenantId, *, has_role: bool, has_schema: bool) -> None:
    if not has_role:
        create_tenant_role(connection, tenant_id)
    if not has_schema:
        connection.execute(f"CREATE SCHEMA {tenant_id} AUTHORIZATION chowk_owner".encode())
    again = f"GRANT {RIGHTS} ON ALL TABLES IN SCHEMA {tenant_id} TO {tenant_id};" if has_schema and not has_role else ""
    connection.execute(
        f"""SET LOCAL ROLE chowk_owner;
            GRANT USAGE ON SCHEMA {tenant_id} TO {tenant_id};
            ALTER DEFAULT PRIVILEGES IN SCHEMA {tenant_id} GRANT {RIGHTS} ON TABLES TO {tenant_id};
            {again}
            SET LOCAL ROLE NONE""".encode()
    )
