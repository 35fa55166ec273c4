"""Tenants are made whole or not at all, and alike however their schema came to its version."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.stock_alembic import upgrade_schemas
from core.errors import Conflict
from core.ids import TenantId, new_id
from db.administrator import session
from db.provision import create_tenant, tenant_by_slug
from db.roles import create_tenant_role
from db.tenant_schemas import bring_up
from db.versions import newest_versions, number
from tests.conftest import Stack
from tests.db.conftest import Installation, a_slug

#: Everything of a schema that could differ, one line each.
LISTING = """
SELECT concat_ws(' ', 'column', c.relkind, c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
                 a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcollation,
                 pg_get_expr(d.adbin, d.adrelid)) AS line
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT concat_ws(' ', 'relation', relkind, relname, reloptions, reltoastrelid <> 0, relowner::regrole, relacl,
                 relrowsecurity, relforcerowsecurity) FROM pg_class WHERE relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
  WHERE c.relnamespace = %(schema)s::regnamespace
UNION ALL
SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
  WHERE connamespace = %(schema)s::regnamespace
UNION ALL
SELECT concat_ws(' ', 'schema', nspowner::regrole, nspacl, obj_description(oid, 'pg_namespace')) FROM pg_namespace
  WHERE oid = %(schema)s::regnamespace
UNION ALL
SELECT concat_ws(' ', 'later', defaclrole::regrole, defaclobjtype, defaclacl) FROM pg_default_acl
  WHERE defaclnamespace = %(schema)s::regnamespace
"""


def listing(installation: Installation, tenant_id: TenantId) -> list[str]:
    """The schema as its catalogue has it, the tenant's own name taken out."""
    with installation.connect() as connection:
        lines = [row["line"] for row in connection.execute(LISTING.encode(), {"schema": tenant_id})]
        rows = f"SELECT version_num FROM {tenant_id}.schema_version UNION ALL SELECT v::text FROM {tenant_id}."
        lines += [f"row {row}" for row in connection.execute(f"{rows}checkpoint_migrations".encode())]
    assert len(lines) > 100
    return sorted(line.replace(tenant_id, "t_x") for line in lines)


def a_row(installation: Installation) -> TenantId:
    """A tenant that has a row and nothing else yet."""
    tenant_id = TenantId(new_id("t"))
    installation.execute("INSERT INTO core.tenants (id, slug, name) VALUES (%s, %s, 'x')", tenant_id, a_slug())
    return tenant_id


def test_a_fresh_tenant_is_the_same_as_one_migrated_version_by_version(installation: Installation) -> None:
    (fresh,) = installation.make(1)
    migrated = a_row(installation)
    with session(installation.admin_url) as connection:
        for place in range(1, number(newest_versions()["tenant"]) + 1):
            with connection.transaction():
                assert bring_up(connection, migrated, f"tenant_{place:04}")
        with connection.transaction():
            assert not bring_up(connection, migrated, newest_versions()["tenant"])
    assert listing(installation, fresh) == listing(installation, migrated)


def test_a_fresh_tenant_is_the_same_as_one_that_alembic_itself_upgraded(installation: Installation) -> None:
    (fresh,) = installation.make(1)
    upgraded = a_row(installation)
    with session(installation.admin_url) as connection:
        create_tenant_role(connection, upgraded)
    installation.execute(f"CREATE SCHEMA {upgraded} AUTHORIZATION chowk_owner")
    installation.execute(
        f"SET ROLE chowk_owner; GRANT USAGE ON SCHEMA {upgraded} TO {upgraded}; "
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {upgraded} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {upgraded}; "
        f"COMMENT ON SCHEMA {upgraded} IS '{newest_versions()['tenant']}'"
    )
    upgrade_schemas(installation.admin_url, [upgraded])
    assert listing(installation, fresh) == listing(installation, upgraded)


def test_many_tenants_are_made_at_once(installation: Installation) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: installation.make(1)[0], range(16)))
    assert sorted(installation.at(newest_versions()["tenant"])) == sorted(made)


@pytest.mark.parametrize("slug", ["taken", "Not A Slug"])
def test_a_slug_that_is_taken_or_malformed_leaves_nothing(installation: Installation, slug: str) -> None:
    create_tenant(installation.admin_url, slug="taken", name="The first")
    before = leftovers(installation)
    with pytest.raises(Conflict, match=slug):
        create_tenant(installation.admin_url, slug=slug, name="The second")
    assert leftovers(installation) == before


def test_a_tenant_is_found_by_its_slug(installation: Installation) -> None:
    tenant_id = create_tenant(installation.admin_url, slug="asha", name="Asha")
    assert tenant_by_slug(installation.admin_url, "asha") == tenant_id
    assert tenant_by_slug(installation.admin_url, "nobody") is None


@pytest.mark.parametrize(("point", "made"), [("before", 0), ("after", 1)])
def test_a_tenant_is_made_whole_or_not_at_all(stack: Stack, installation: Installation, point: str, made: int) -> None:
    assert stack.admin_url
    before = leftovers(installation)
    killed = subprocess.run(
        [sys.executable, "-m", "cli.main", "tenant", "create", "--slug", a_slug(), "--name", "x"],
        env={
            **os.environ,
            "CHOWK_ADMIN_DATABASE_URL": installation.admin_url,
            "CHOWK_FAULT": f"provision.tenant.{point}_commit",
        },
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    after = leftovers(installation)
    assert [len(after[kind]) - len(before[kind]) for kind in before] == [made] * 3


def leftovers(installation: Installation) -> dict[str, list[str]]:
    """The ids of tenants of which there is a row, a schema, a role with rights in this database."""
    queries = {
        "rows": "SELECT id FROM core.tenants",
        "schemas": r"SELECT nspname::text AS id FROM pg_namespace WHERE nspname LIKE 't\_%'",
        "roles": r"""SELECT DISTINCT r.rolname::text AS id FROM pg_roles r JOIN pg_shdepend s ON s.refobjid = r.oid
                     JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
                     WHERE r.rolname LIKE 't\_%'""",
    }
    return {kind: sorted(row["id"] for row in installation.execute(query)) for kind, query in queries.items()}
