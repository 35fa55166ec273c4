"""Making tenants: a row, a role and a schema. An administrator's act, like migrating."""

import json
from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.errors import Conflict
from core.ids import TenantId, new_id
from db.migrate import administrator, provision_schema


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
    row = {"id": tenant_id, "slug": slug, "name": name, "settings": json.dumps(settings or {})}
    insert = text(
        "INSERT INTO core.tenants (id, slug, name, settings) VALUES (:id, :slug, :name, cast(:settings AS jsonb))"
    )
    with administrator(admin_url) as connection:
        try:
            connection.execute(insert, row)
        except IntegrityError as error:
            raise Conflict(f"the slug {slug!r} is taken or is not of lower-case letters, digits and hyphens") from error
        provision_schema(connection, tenant_id)
    return tenant_id


def tenant_by_slug(admin_url: str, slug: str) -> TenantId | None:
    """The tenant with this slug, if there is one."""
    with administrator(admin_url) as connection:
        found = connection.execute(text("SELECT id FROM core.tenants WHERE slug = :slug"), {"slug": slug}).scalar()
    return None if found is None else TenantId(found)
