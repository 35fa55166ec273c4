"""The command line as a person uses it: the real database, each command in this process."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from cli.main import app, expected_error
from core.errors import SettingInvalid
from core.ids import TenantId, new_id
from db.pools import Database
from db.versions import newest_versions
from rest.api_keys import ApiKeys
from tests.conftest import Stack

runner = CliRunner()


def chowk(*arguments: str, **options: str) -> str:
    """What a command prints; it must succeed."""
    result = runner.invoke(app, arguments, **options)  # pyright: ignore[reportArgumentType]
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str, **options: str) -> str:
    """The one line with which a command refuses."""
    result = runner.invoke(app, arguments, **options)  # pyright: ignore[reportArgumentType]
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    return result.stderr


@pytest.fixture
def slug(stack: Stack) -> str:
    """A tenant made on the command line."""
    assert stack.admin_url
    slug = new_id("cli").replace("_", "-")
    chowk("tenant", "create", "--slug", slug, "--name", "An organisation")
    return slug


def test_a_tenant_is_made_and_listed(slug: str) -> None:
    listed = json.loads(chowk("tenant", "list", "--json"))
    assert [entry["name"] for entry in listed if entry["slug"] == slug] == ["An organisation"]
    assert slug in chowk("tenant", "list")


def test_a_slug_that_is_taken_or_malformed_is_refused(slug: str) -> None:
    assert slug in refused("tenant", "create", "--slug", slug, "--name", "Again")
    assert "Not A Slug" in refused("tenant", "create", "--slug", "Not A Slug", "--name", "x")


def test_an_account_is_added_and_its_url_and_token_are_shown_but_no_secret(slug: str) -> None:
    shown = chowk(
        "account", "add", "--tenant", slug, "--channel", "whatsapp", "--external-id", new_id("n"),
        "--signing-secret", "-", "--access-token", "-", "--base-url", "https://chowk.example.org/", "--json",
        input="a signing secret\nan access token\n",
    )  # fmt: skip
    account = json.loads(shown)
    assert account["webhook_url"] == f"https://chowk.example.org/webhooks/whatsapp/{account['account']}"
    assert len(account["verify_token"]) > 16
    assert "secret" not in shown
    listed = json.loads(chowk("account", "list", "--tenant", slug, "--json"))
    assert [entry["id"] for entry in listed] == [account["account"]]
    assert "secret" not in json.dumps(listed)


def test_secrets_may_come_from_the_environment(slug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOWK_SIGNING_SECRET", "from the environment")
    chowk("account", "add", "--tenant", slug, "--channel", "whatsapp", "--external-id", new_id("n"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--channel", "pigeon", "--signing-secret", "x"), "pigeon"),
        (("--channel", "whatsapp"), "--signing-secret"),
        (("--channel", "whatsapp", "--signing-secret", ""), "--signing-secret is empty"),
        (("--channel", "whatsapp", "--signing-secret", "-"), "standard input"),
        (("--channel", "whatsapp", "--app", "nobody"), "nobody"),
    ],
)
def test_an_account_that_could_not_work_is_refused(slug: str, arguments: tuple[str, ...], named: str) -> None:
    assert named in refused("account", "add", "--tenant", slug, "--external-id", new_id("n"), *arguments, input="")


def test_a_tenant_that_does_not_exist_is_named() -> None:
    message = refused(
        "account", "add", "--tenant", "nobody", "--channel", "whatsapp", "--external-id", "1", "--signing-secret", "x"
    )
    assert "'nobody'" in message


async def test_an_api_key_is_shown_once_and_works(slug: str, database: Database) -> None:
    key = await asyncio.to_thread(chowk, "api-key", "create", "--tenant", slug, "--name", "test")
    found = await ApiKeys(database).find(key.strip())
    assert found.scopes == {"read"}


def test_an_unknown_scope_is_refused(slug: str) -> None:
    assert "everything" in refused("api-key", "create", "--tenant", slug, "--name", "x", "--scope", "everything")


def test_migrating_again_changes_nothing(stack: Stack, tenant: TenantId) -> None:
    assert stack.admin_url
    assert tenant
    assert chowk("migrate").startswith(f"migrated: {', '.join(newest_versions().values())}; ")


def test_without_an_administrator_the_setting_is_named(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.admin_url
    monkeypatch.delenv("CHOWK_ADMIN_DATABASE_URL")
    assert "CHOWK_ADMIN_DATABASE_URL" in refused("migrate")


def test_a_wrong_setting_is_one_line_that_names_it(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.admin_url
    monkeypatch.setenv("CHOWK_SECRET_KEY", "too short")
    assert "CHOWK_SECRET_KEY" in refused("api")


def test_a_database_that_is_not_there_is_one_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.admin_url
    monkeypatch.setenv("DATABASE_URL", "postgresql://chowk_app:x@127.0.0.1:1/chowk")
    assert "Connection refused" in refused("tenant", "list")
    assert "Connection refused" in refused("api")


def test_a_superusers_login_is_refused(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stack.admin_url)
    assert "superuser" in refused("api")


def test_an_error_that_nobody_expected_is_shown_whole() -> None:
    assert expected_error(ZeroDivisionError()) is None
    assert expected_error(SettingInvalid("X is wrong")) == "X is wrong"
    line = expected_error(psycopg.OperationalError("no\n  route"))
    assert line is not None
    assert "no route" in line


@pytest.mark.parametrize("command", ["dev", "api", "worker", "beat", "migrate", "doctor"])
def test_every_command_says_what_it_does(command: str) -> None:
    assert "Usage: chowk" in chowk(command, "--help").replace("root", "chowk")


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    heavy = ("langgraph", "langchain_core", "sqlalchemy", "celery", "fastapi", "numpy", "psycopg", "httpx")
    script = f"import cli.main, sys; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_module_runs_as_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "tenant", "list"], capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
    )  # fmt: skip
    assert ran.returncode == 1
    assert ran.stderr.startswith("chowk: DATABASE_URL")


def test_without_a_database_the_development_stack_of_the_home_is_spoken_to_and_named(
    stack: Stack, slug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"database_url": stack.app_url, "redis_url": stack.redis_url}))
    (tmp_path / "secrets.json").write_text("{}")
    monkeypatch.setenv("CHOWK_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL")
    result = runner.invoke(app, ["tenant", "list", "--json"])
    assert slug in [entry["slug"] for entry in json.loads(result.stdout)]
    assert f"the development stack of {tmp_path}" in result.stderr
