import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from typer.testing import CliRunner

from cli import database_checks
from cli.database_checks import describe_queues, describe_server, describe_worker
from cli.finding import Finding
from cli.main import app
from core.crypto import Sealer
from core.settings import DatabaseSettings
from db.pools import open_database
from db.probe import QueueDepths, ServerFacts
from db.versions import newest_versions
from sandbox.ports import free_port
from tests.builders import an_organisation
from tests.conftest import Stack

runner = CliRunner()
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
GOOD = ServerFacts(
    version_number=180004, connections_max=120, connections=5, encoding="UTF8", character_type="C.UTF-8",
    vector_version="0.8.1",
)  # fmt: skip


def doctor() -> tuple[int, dict[str, Finding]]:
    """The exit status and the findings by name."""
    result = runner.invoke(app, ["doctor", "--json"])
    assert result.stdout, result.output
    return result.exit_code, {entry["name"]: Finding(**entry) for entry in json.loads(result.stdout)}


async def test_a_healthy_installation_has_nothing_to_mend(stack: Stack, sealer: Sealer) -> None:
    an_organisation(stack.admin_url, sealer)
    worker = await open_database(DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url}), application="worker")
    try:
        _, findings = await asyncio.to_thread(doctor)
    finally:
        await worker.close()
    states = {name: finding.state for name, finding in findings.items() if name != "queues"}
    assert set(states.values()) == {"ok"}
    assert set(findings) >= {
        "python", "settings", "disk", "redis", "database login", "postgres", "pgvector", "encoding", "pools",
        "migrations", "secret key", "worker", "queues",
    }  # fmt: skip


def test_a_database_that_is_not_there_does_not_hide_the_rest(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.app_url
    monkeypatch.setenv("DATABASE_URL", "postgresql://chowk_app:x@127.0.0.1:1/chowk")
    status, findings = doctor()
    assert status == 1
    assert (findings["database"].state, findings["redis"].state) == ("fail", "ok")
    assert "DATABASE_URL" in findings["database"].remedy


def test_redis_that_is_not_there_is_no_failure(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.app_url
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port(None)}/0")
    _, findings = doctor()
    assert findings["redis"].state == "warn"


def test_an_unsafe_login_is_a_failure(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stack.admin_url)
    status, findings = doctor()
    assert (status, findings["database login"].state) == (1, "fail")


def test_another_secret_key_than_the_one_that_sealed_is_a_failure(
    stack: Stack, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_organisation(stack.admin_url, sealer)
    monkeypatch.setenv("CHOWK_SECRET_KEY", "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=")
    status, findings = doctor()
    assert (status, findings["secret key"].state) == (1, "fail")


def test_a_tenant_left_behind_by_a_migration_is_named(stack: Stack, sealer: Sealer) -> None:
    tenant_id = an_organisation(stack.admin_url, sealer).tenant_id
    with psycopg.connect(stack.admin_url, autocommit=True) as connection:
        connection.execute(f"COMMENT ON SCHEMA {tenant_id} IS 'tenant_0000'".encode())
        try:
            status, findings = doctor()
        finally:
            connection.execute(f"COMMENT ON SCHEMA {tenant_id} IS '{newest_versions()['tenant']}'".encode())
    assert (status, findings["migrations"].state) == (1, "fail")
    assert findings["migrations"].remedy == "run: chowk migrate"
    assert findings["migrations"].detail.startswith("1 tenant(s) behind")


@pytest.mark.parametrize(
    ("core", "tenant", "state", "words"),
    [
        ("core_0001", "tenant_0002", "fail", "core is at core_0001"),
        ("core_0002", "tenant_0001", "fail", "1 tenant(s) behind tenant_0002: asha"),
        ("core_0002", None, "fail", "1 tenant(s) behind tenant_0002: asha"),
        ("core_0002", "tenant_0002", "warn", "1 tenant(s) before tenant_0003"),
        ("core_0002", "tenant_0003", "ok", "1 tenant(s) at tenant_0003"),
        ("core_0003", "tenant_0004", "ok", "core core_0003"),
    ],
)
def test_versions_are_enough_missing_or_wait_for_the_old_code_to_end(
    core: str, tenant: str | None, state: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_checks, "needed_versions", lambda: {"core": "core_0002", "tenant": "tenant_0002"})
    monkeypatch.setattr(database_checks, "newest_versions", lambda: {"core": "core_0002", "tenant": "tenant_0003"})
    finding = database_checks.describe_versions(core, {"asha": tenant})
    assert (finding.state, words in finding.detail) == (state, True)
    assert bool(finding.remedy) == (state != "ok")


def test_findings_are_readable_and_say_what_to_do(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.app_url
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port(None)}/0")
    result = runner.invoke(app, ["doctor"])
    assert "warn  redis" in result.stdout
    assert "-> start Redis or correct REDIS_URL" in result.stdout


@pytest.mark.parametrize(
    ("changed", "name", "state"),
    [
        ({}, "postgres", "ok"),
        ({"version_number": 150004}, "postgres", "fail"),
        ({"vector_version": None}, "pgvector", "fail"),
        ({"encoding": "SQL_ASCII"}, "encoding", "fail"),
        ({"character_type": "C"}, "encoding", "warn"),
        ({"character_type": "hi_IN.UTF-8"}, "encoding", "ok"),
        ({"connections_max": 20}, "pools", "fail"),
        ({"connections": 115}, "pools", "warn"),
    ],
)
def test_what_is_wrong_with_a_server_is_found_and_has_a_remedy(
    changed: dict[str, object], name: str, state: str
) -> None:
    findings = {finding.name: finding for finding in describe_server(replace(GOOD, **changed), pool_size_max=8)}  # pyright: ignore[reportArgumentType]
    assert findings[name].state == state
    assert bool(findings[name].remedy) == (state != "ok")


@pytest.mark.parametrize(("lag_s", "state"), [(0.0, "ok"), (9.0, "ok"), (30.0, "warn"), (600.0, "fail")])
def test_a_queue_that_is_not_kept_up_with_is_found(lag_s: float, state: str) -> None:
    finding = describe_queues(QueueDepths({"inbox": 3, "runs": 0}, lag_s))
    assert finding.state == state
    assert "3 in inbox" in finding.detail


@pytest.mark.parametrize(("silent_s", "state"), [(None, "warn"), (1.0, "ok"), (60.0, "warn")])
def test_a_worker_that_does_not_poll_is_found(silent_s: float | None, state: str) -> None:
    polled_at = None if silent_s is None else NOW - timedelta(seconds=silent_s)
    assert describe_worker(polled_at, now=NOW).state == state
