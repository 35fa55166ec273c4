"""A database of a test's own, whose tenants it may break, and releases that come after this one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from bench.next_release import write_release
from core.ids import TenantId, new_id
from db import versions
from db.migrate import migrate
from db.provision import create_tenant
from tests.conftest import Stack

Release = Callable[..., str]


@dataclass
class Installation:
    """A migrated database and what a test asks of it as its administrator."""

    admin_url: str
    tenants: list[TenantId] = field(default_factory=list[TenantId])

    def connect(self) -> psycopg.Connection[DictRow]:
        return psycopg.Connection[DictRow].connect(self.admin_url, autocommit=True, row_factory=dict_row)

    def execute(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def make(self, count: int) -> list[TenantId]:
        made = [create_tenant(self.admin_url, slug=a_slug(), name="One of many") for _ in range(count)]
        self.tenants += made
        return made

    def version(self, tenant_id: TenantId) -> str:
        """What the schema itself says; its comment must say the same."""
        (row,) = self.execute(
            f"SELECT version_num, obj_description('{tenant_id}'::regnamespace, 'pg_namespace') AS comment "
            f"FROM {tenant_id}.schema_version"
        )
        assert row["version_num"] == row["comment"]
        return row["comment"]

    def at(self, version: str) -> list[TenantId]:
        return [tenant_id for tenant_id in self.tenants if self.version(tenant_id) == version]


def a_slug() -> str:
    return new_id("slug").replace("_", "-")


@pytest.fixture
def installation(stack: Stack) -> Iterator[Installation]:
    name = new_id("db")
    server, _, _ = stack.admin_url.rpartition("/")
    with psycopg.connect(stack.admin_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    own = Installation(f"{server}/{name}")
    migrate(own.admin_url)
    yield own
    tenants = [row["id"] for row in own.execute("SELECT id FROM core.tenants")]
    with psycopg.connect(stack.admin_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        for tenant_id in tenants:
            connection.execute(f"DROP ROLE IF EXISTS {tenant_id}".encode())


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Puts a later release in this one's place; gives its newest version. Its folder is `tmp_path / "release"`."""

    def put(*tenant_versions: tuple[Literal["pre", "post"], str]) -> str:
        newest = write_release(tmp_path / "release", tenant_versions)
        monkeypatch.setattr(versions, "MIGRATIONS", tmp_path / "release")
        return newest

    return put
