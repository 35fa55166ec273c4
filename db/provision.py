"""Making tenants: a row, a role and a schema. An administrator's act, like migrating."""

from collections.abc import Mapping

from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Jsonb

from core.errors import Conflict
from core.ids import TenantId, new_id
from db.administrator import MIGRATION_LOCK, Session, retried, session
from db.faults import fault
from db.tenant_schemas import bring_up, list_schemas
from db.versions import needed_versions, newest_versions, number

#: Waits while what all tenants share is changed, not for others that make tenants.
OPENING = f"SELECT pg_advisory_xact_lock_shared({MIGRATION_LOCK}); SET LOCAL ROLE chowk_owner"
INSERT = "INSERT INTO core.tenants (id, slug, name, settings) VALUES (%s, %s, %s, %s)"


def create_tenant(admin_url: str, *, slug: str, name: str, settings: Mapping[str, object] | None = None) -> TenantId:
    """Make a tenant and its schema; gives its id.

    Args:
        admin_url: an administrator's database URL.
        slug: short name for people and URLs, `[a-z0-9-]`, unique.
        name: the organisation's name.
        settings: the tenant's own settings, for example its profile.

    Raises:
        Conflict: the slug is taken or malformed.
    """
    tenant_id = TenantId(new_id("t"))
    row = (tenant_id, slug, name, Jsonb(dict(settings or {})))
    retried(lambda: _create(admin_url, tenant_id, slug, row))
    return tenant_id


def tenant_by_slug(admin_url: str, slug: str) -> TenantId | None:
    """The tenant with this slug, if there is one."""
    with session(admin_url) as connection, connection.transaction():
        connection.execute("SET LOCAL ROLE chowk_owner")
        found = connection.execute("SELECT id FROM core.tenants WHERE slug = %s", (slug,)).fetchone()
    return None if found is None else TenantId(found["id"])


def _create(admin_url: str, tenant_id: TenantId, slug: str, row: tuple[object, ...]) -> None:
    with session(admin_url) as connection, connection.transaction():
        connection.execute(OPENING.encode())
        target = _version_of_new_tenants(connection)
        try:
            connection.execute(INSERT, row)
        except (UniqueViolation, CheckViolation) as error:
            raise Conflict(f"the slug {slug!r} is taken or is not of lower-case letters, digits and hyphens") from error
        connection.execute("SET LOCAL ROLE NONE")
        bring_up(connection, tenant_id, target)
        fault("provision.tenant.before_commit")
    fault("provision.tenant.after_commit")


def _version_of_new_tenants(connection: Session) -> str:
    """The newest version, unless code that needs what a `post_` takes away may still be at work: none has run yet."""
    needed, newest = needed_versions()["tenant"], newest_versions()["tenant"]
    if needed == newest:
        return newest
    others = list_schemas(connection)
    begun = any(number(schema.version) > number(needed) for schema in others)
    return newest if begun or not others else needed
