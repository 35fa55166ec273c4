"""What becomes of tenants when the next release's migrations run: all of them, whatever happens meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from core.ids import TenantId
from db import administrator, migrate, tenant_schemas, versions
from db.migrate import MigrationIncomplete, Outcome, Progress
from db.provision import create_tenant
from db.versions import needed_versions, newest_versions
from tests.db.conftest import Installation, Release, a_slug

A_NOTE = ("pre", "ALTER TABLE contacts ADD COLUMN note text")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administrator, "PAUSE_S", 0.01)
    monkeypatch.setattr(tenant_schemas, "MIGRATION_LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(migrate, "MIGRATION_LOCK_TIMEOUT_MS", 50)


def incomplete(installation: Installation) -> Outcome:
    """The outcome of a migration that leaves somebody behind."""
    with pytest.raises(MigrationIncomplete, match="again") as raised:
        migrate.migrate(installation.admin_url, parallel=2)
    assert raised.value.outcome is not None
    return raised.value.outcome


def held(installation: Installation, table: str) -> psycopg.Connection[object]:
    """A session that keeps everybody from changing this table."""
    holder = psycopg.connect(installation.admin_url)
    holder.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE".encode())
    return holder


def test_every_tenant_is_migrated_once(installation: Installation, release: Release) -> None:
    installation.make(12)
    newest = release(A_NOTE)
    outcome = migrate.migrate(installation.admin_url, parallel=3)
    assert (outcome.tenants, outcome.migrated, outcome.current, outcome.failures) == (12, 12, 0, ())
    assert outcome.versions == newest_versions()
    assert installation.at(newest) == installation.tenants
    again = migrate.migrate(installation.admin_url)
    assert (again.tenants, again.migrated, again.current) == (12, 0, 12)


def test_a_broken_tenant_stops_no_other_and_is_migrated_once_it_is_mended(
    installation: Installation, release: Release
) -> None:
    broken, *others = installation.make(12)
    installation.execute(f"ALTER TABLE {broken}.contacts RENAME TO mislaid")
    newest = release(A_NOTE)
    outcome = incomplete(installation)
    assert (outcome.migrated, [failure.tenant_id for failure in outcome.failures]) == (11, [broken])
    assert outcome.failures[0].reason == 'relation "contacts" does not exist'
    assert installation.at(newest) == others
    installation.execute(f"ALTER TABLE {broken}.mislaid RENAME TO contacts")
    again = migrate.migrate(installation.admin_url)
    assert (again.migrated, again.current) == (1, 11)


def test_a_version_that_nobody_knows_is_a_failure_of_that_tenant_alone(
    installation: Installation, release: Release
) -> None:
    strange, *_ = installation.make(3)
    installation.execute(f"UPDATE {strange}.schema_version SET version_num = 'tenant_0000'")
    release(A_NOTE)
    outcome = incomplete(installation)
    assert (outcome.migrated, outcome.failures[0].tenant_id) == (2, strange)
    assert "tenant_0000" in outcome.failures[0].reason


def test_a_lock_that_is_never_let_go_is_given_up_and_named(installation: Installation, release: Release) -> None:
    locked, *others = installation.make(4)
    newest = release(A_NOTE)
    with held(installation, f"{locked}.contacts"):
        outcome = incomplete(installation)
    assert (outcome.migrated, outcome.failures[0].tenant_id) == (3, locked)
    assert "lock" in outcome.failures[0].reason
    assert installation.at(newest) == others
    assert migrate.migrate(installation.admin_url).migrated == 1


def test_a_lock_that_is_let_go_costs_another_attempt_only(installation: Installation, release: Release) -> None:
    locked, *_ = installation.make(6)
    newest = release(A_NOTE)
    holder = held(installation, f"{locked}.contacts")

    def let_go(progress: Progress) -> None:
        if progress.failed:
            holder.close()

    outcome = migrate.migrate(installation.admin_url, on_progress=let_go)
    assert (outcome.migrated, outcome.failures) == (6, ())
    assert installation.at(newest) == installation.tenants


def test_without_the_shared_schema_nothing_is_migrated(installation: Installation, release: Release) -> None:
    installation.make(2)
    place = versions.number(newest_versions()["core"])
    newest = release(A_NOTE)
    core = versions.MIGRATIONS / "core" / "versions"
    (core / f"pre_{place + 1:04}_next.py").write_text(
        f"from alembic import op\nrevision = 'core_{place + 1:04}'\ndown_revision = 'core_{place:04}'\n"
        "def upgrade():\n    op.execute('ALTER TABLE core.runs ADD COLUMN note text')\n"
    )
    with held(installation, "core.runs"), pytest.raises(MigrationIncomplete, match="nothing was migrated") as raised:
        migrate.migrate(installation.admin_url)
    assert raised.value.outcome is None
    assert installation.at(newest) == []
    assert migrate.migrate(installation.admin_url).migrated == 2


def test_two_migrations_at_once_share_the_work(installation: Installation, release: Release) -> None:
    installation.make(12)
    newest = release(A_NOTE)
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(lambda _: migrate.migrate(installation.admin_url, parallel=2), range(2)))
    assert sum(outcome.migrated for outcome in outcomes) == 12
    assert [outcome.failures for outcome in outcomes] == [(), ()]
    assert installation.at(newest) == installation.tenants


@pytest.mark.parametrize(
    ("point", "migrated"),
    [
        ("core.before_commit", 0),
        ("core.after_commit", 0),
        ("tenant.before_commit:5", 4),
        ("tenant.after_commit:5", 5),
    ],
)
def test_a_killed_migration_goes_on_where_it_was(
    installation: Installation, release: Release, tmp_path: Path, point: str, migrated: int
) -> None:
    installation.make(12)
    newest = release(A_NOTE)
    killed = subprocess.run(
        [sys.executable, "-m", "bench.next_release", str(tmp_path / "release"), "migrate", "--parallel", "1"],
        env={
            **os.environ,
            "CHOWK_ADMIN_DATABASE_URL": installation.admin_url,
            "CHOWK_FAULT": f"migrate.{point}",
        },
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert len(installation.at(newest)) == migrated
    outcome = migrate.migrate(installation.admin_url)
    assert (outcome.migrated, outcome.current) == (12 - migrated, migrated)
    assert installation.at(newest) == installation.tenants


def meanwhile(act: Callable[[], object]) -> Callable[[Progress], None]:
    """Does something once, when the first tenant has been migrated."""
    done: list[object] = []

    def when(progress: Progress) -> None:
        if progress.migrated == 1 and not done:
            done.append(act())

    return when


def test_a_tenant_made_meanwhile_ends_at_the_newest_version(
    installation: Installation, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.make(3)
    this_release = versions.MIGRATIONS
    newest = release(A_NOTE)

    def make_with_both_releases() -> None:
        installation.make(1)
        with monkeypatch.context() as patched:
            patched.setattr(versions, "MIGRATIONS", this_release)
            (old,) = installation.make(1)
            assert installation.version(old) == newest_versions()["tenant"]

    outcome = migrate.migrate(installation.admin_url, parallel=1, on_progress=meanwhile(make_with_both_releases))
    assert (outcome.tenants, outcome.migrated, outcome.current) == (5, 4, 1)
    assert installation.at(newest) == installation.tenants


def test_what_old_code_needs_is_removed_by_command_only(installation: Installation, release: Release) -> None:
    installation.make(2)
    newest = release(A_NOTE, ("post", "ALTER TABLE contacts DROP COLUMN username"))
    needed = needed_versions()["tenant"]
    assert migrate.migrate(installation.admin_url, post=False).migrated == 2
    installation.make(1)  # old code may still serve it
    assert installation.at(needed) == installation.tenants
    assert migrate.migrate(installation.admin_url, post=False).migrated == 0
    assert migrate.migrate(installation.admin_url).migrated == 3
    installation.make(1)
    assert installation.at(newest) == installation.tenants
    assert migrate.migrate(installation.admin_url, post=False).current == 4


def test_older_code_leaves_a_newer_database_as_it_is(
    installation: Installation, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.make(2)
    newest = release(A_NOTE)
    migrate.migrate(installation.admin_url)
    monkeypatch.undo()
    outcome = migrate.migrate(installation.admin_url)
    assert (outcome.migrated, outcome.current) == (0, 2)
    assert installation.at(newest) == installation.tenants


def test_a_tenant_may_use_the_tables_of_later_versions(installation: Installation, release: Release) -> None:
    (tenant_id,) = installation.make(1)
    release(("pre", "CREATE TABLE notes (id text PRIMARY KEY)"))
    migrate.migrate(installation.admin_url)
    assert rights(installation, tenant_id, "notes") == [True] * 4


def test_a_role_that_a_restored_dump_lacks_is_made_again(installation: Installation) -> None:
    lost, _ = installation.make(2)
    installation.execute(f"DROP OWNED BY {lost}")
    installation.execute(f"DROP ROLE {lost}")
    outcome = migrate.migrate(installation.admin_url)
    assert (outcome.migrated, outcome.current) == (1, 1)
    assert rights(installation, lost, "contacts") == [True] * 4
    (member,) = installation.execute("SELECT pg_has_role('chowk_app', %s, 'SET') AS may", lost)
    assert member["may"]


def rights(installation: Installation, tenant_id: TenantId, table: str) -> list[bool]:
    rows = installation.execute(
        "SELECT has_table_privilege(%s, %s, r) AS may FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS r",
        tenant_id, f"{tenant_id}.{table}",
    )  # fmt: skip
    return [row["may"] for row in rows]


def test_a_version_without_its_comment_is_read_from_the_schema(installation: Installation) -> None:
    (tenant_id,) = installation.make(1)
    installation.execute(f"COMMENT ON SCHEMA {tenant_id} IS NULL")
    outcome = migrate.migrate(installation.admin_url)
    assert (outcome.migrated, outcome.current) == (0, 1)
    assert installation.at(newest_versions()["tenant"]) == [tenant_id]


def test_progress_counts_up_to_the_tenants_that_were_behind(installation: Installation, release: Release) -> None:
    broken, *_ = installation.make(5)
    installation.execute(f"ALTER TABLE {broken}.contacts RENAME TO mislaid")
    release(A_NOTE)
    create_tenant(installation.admin_url, slug=a_slug(), name="At the newest version")
    seen: list[Progress] = []
    with pytest.raises(MigrationIncomplete):
        migrate.migrate(installation.admin_url, on_progress=seen.append)
    assert [progress.migrated + progress.failed for progress in seen] == [1, 2, 3, 4, 5]
    assert (seen[-1].migrated, seen[-1].failed, seen[-1].total) == (4, 1, 5)
    assert seen[-1].rate_per_s > 0


def test_a_server_that_goes_away_ends_the_migration(installation: Installation, release: Release) -> None:
    installation.make(4)
    newest = release(A_NOTE)
    server, _, name = installation.admin_url.rpartition("/")

    def let_in(*, anybody: bool) -> None:
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {anybody}".encode())
            if not anybody:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    with pytest.raises(psycopg.OperationalError):
        migrate.migrate(installation.admin_url, parallel=1, on_progress=meanwhile(lambda: let_in(anybody=False)))
    let_in(anybody=True)
    assert migrate.migrate(installation.admin_url).migrated == 3
    assert installation.at(newest) == installation.tenants
