"""`chowk migrate` as a person and a deployment job see it."""

import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.next_release import write_release
from cli.main import app
from cli.migration import FAILURES_SHOWN_MAX, progress_line, progress_shown_on
from db import versions
from db.migrate import Progress
from tests.db.conftest import Installation, installation

__all__ = ["installation"]

runner = CliRunner()


@pytest.fixture
def two_tenants(installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installation:
    """Two tenants before the next release, which adds and takes away."""
    monkeypatch.setenv("CHOWK_ADMIN_DATABASE_URL", installation.admin_url)
    installation.make(2)
    write_release(tmp_path / "release", [("pre", "ALTER TABLE contacts ADD COLUMN note text"), ("post", "SELECT 1")])
    monkeypatch.setattr(versions, "MIGRATIONS", tmp_path / "release")
    return installation


def test_what_was_done_is_said_and_what_is_left_for_after_the_deploy(two_tenants: Installation) -> None:
    needed, newest = versions.needed_versions(), versions.newest_versions()
    before = runner.invoke(app, ["migrate"])
    assert (before.exit_code, len(two_tenants.at(needed["tenant"]))) == (0, 2), before.output
    assert before.stdout.startswith(f"migrated: {needed['core']}, {needed['tenant']}; 2 tenant(s): 2 migrated, 0 ")
    assert "chowk migrate --post" in before.stdout
    after = runner.invoke(app, ["migrate", "--post"])
    assert (after.exit_code, len(two_tenants.at(newest["tenant"]))) == (0, 2), after.output
    assert "--post" not in after.stdout


def test_a_program_gets_json(two_tenants: Installation) -> None:
    assert len(two_tenants.tenants) == 2
    told = json.loads(runner.invoke(app, ["migrate", "--json", "--parallel", "1"]).stdout)
    assert told.pop("seconds") > 0
    assert told == {**versions.needed_versions(), "tenants": 2, "migrated": 2, "current": 0, "failed": []}


def test_tenants_that_failed_are_named_with_their_reason_and_the_status_is_1(two_tenants: Installation) -> None:
    broken, fine = two_tenants.tenants
    two_tenants.execute(f"ALTER TABLE {broken}.contacts RENAME TO mislaid")
    result = runner.invoke(app, ["migrate"])
    assert result.exit_code == 1
    assert f"({broken}) failed: relation" in result.stderr
    assert fine not in result.stderr
    assert "1 migrated, 0 already there, 1 failed" in result.stdout
    result = runner.invoke(app, ["migrate", "--json"])
    assert result.exit_code == 1
    assert [failure["tenant"] for failure in json.loads(result.stdout)["failed"]] == [broken]


def test_of_very_many_failures_some_are_named(two_tenants: Installation) -> None:
    two_tenants.make(FAILURES_SHOWN_MAX)
    for tenant_id in two_tenants.tenants:
        two_tenants.execute(f"UPDATE {tenant_id}.schema_version SET version_num = 'tenant_0000'")
        two_tenants.execute(f"COMMENT ON SCHEMA {tenant_id} IS 'tenant_0000'")
    result = runner.invoke(app, ["migrate"])
    assert result.stderr.count("no way is known") == FAILURES_SHOWN_MAX
    assert "and 2 more" in result.stderr


def test_progress_is_one_line_that_says_how_many_how_fast_and_how_many_failed() -> None:
    progress = Progress(migrated=340, failed=1, total=1000, seconds=1.6)
    assert progress_line(progress) == "migrated 340 of 1000 tenants, 212/s, 1 failed"
    assert progress_line(Progress(migrated=0, failed=0, total=3, seconds=0.0)) == "migrated 0 of 3 tenants, 0/s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_one_line_that_changes() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        show = progress_shown_on(stream)
        for migrated in range(1, 4):
            show(Progress(migrated, failed=0, total=3, seconds=1.0))
    assert file.getvalue() == "migrated 3 of 3 tenants, 3/s\n"
    assert terminal.getvalue() == "\r\x1b[Kmigrated 3 of 3 tenants, 3/s\n"
