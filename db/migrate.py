"""Migrations: the shared schema, then each tenant's. Runs as an administrator and is the only thing that does.

Safe to run again and beside itself: an advisory lock lets one run at a time.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import NullPool, create_engine, make_url, text

from core.errors import SettingInvalid
from core.ids import TenantId
from db.roles import create_roles, create_tenant_role

MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number no other program uses: "chowk" in hexadecimal.
MIGRATION_LOCK = 0x63686F776B
LOCK_TIMEOUT = "10s"


def migrate(admin_url: str, *, app_password: str | None = None) -> list[TenantId]:
    """Bring roles, `core` and every tenant's schema to the newest version; gives the tenants that were visited.

    Raises:
        SettingInvalid: the server is too old, or pgvector is not installed there.
    """
    with _administrator(admin_url) as connection:
        create_roles(_driver(connection), app_password=app_password)
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"))
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS core AUTHORIZATION chowk_owner"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(text("SET ROLE chowk_owner"))
        _upgrade(connection, "core")
        tenants = [TenantId(row[0]) for row in connection.execute(text("SELECT id FROM core.tenants ORDER BY id"))]
        for tenant_id in tenants:
            _migrate_tenant(connection, tenant_id)
        return tenants


def provision_schema(connection: SqlConnection, tenant_id: TenantId) -> None:
    """Make one tenant's role and schema, and bring the schema to the newest version."""
    connection.execute(text("RESET ROLE"))
    create_tenant_role(_driver(connection), tenant_id)
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {tenant_id} AUTHORIZATION chowk_owner"))
    connection.execute(text("SET ROLE chowk_owner"))
    _migrate_tenant(connection, tenant_id)


def newest_versions() -> dict[str, str]:
    """The newest version of each kind of schema that this code knows, by kind (`core`, `tenant`)."""
    heads = {kind: ScriptDirectory.from_config(_config(kind)).get_current_head() for kind in ("core", "tenant")}
    return {kind: head for kind, head in heads.items() if head is not None}


@contextmanager
def administrator(admin_url: str) -> Generator[SqlConnection, None, None]:
    """A connection that acts as `chowk_owner`, alone among administrators; commits when the block ends well."""
    with _administrator(admin_url) as connection:
        connection.execute(text("SET ROLE chowk_owner"))
        yield connection


@contextmanager
def _administrator(admin_url: str) -> Generator[SqlConnection, None, None]:
    url = make_url(admin_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
            if version < 160000:  # noqa: PLR2004  # 16 brought GRANT … WITH INHERIT, SET
                raise SettingInvalid(f"PostgreSQL {version // 10000} is too old; Chowk needs 16 or newer")
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
            yield connection
    finally:
        engine.dispose()


def _migrate_tenant(connection: SqlConnection, tenant_id: TenantId) -> None:
    connection.execute(text(f"SET LOCAL search_path TO {tenant_id}, public"))
    _upgrade(connection, "tenant", tenant_id=tenant_id)
    connection.execute(text(f"GRANT USAGE ON SCHEMA {tenant_id} TO {tenant_id}"))
    connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {tenant_id} TO {tenant_id}"))
    connection.execute(text("SET LOCAL search_path TO DEFAULT"))


def _upgrade(connection: SqlConnection, kind: str, **attributes: str) -> None:
    config = _config(kind)
    config.attributes.update(connection=connection, **attributes)
    command.upgrade(config, "head")


def _config(kind: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS / kind))
    config.set_main_option("path_separator", "os")
    return config


def _driver(connection: SqlConnection) -> Any:  # Any: SQLAlchemy does not type the connection below it
    return connection.connection.driver_connection
