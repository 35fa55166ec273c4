import json
from pathlib import Path

from sandbox.development import development_environment

URL = "postgresql://chowk_app:word@127.0.0.1:5499/chowk"


def a_home(path: Path, **secrets: str) -> Path:
    (path / "demo.json").write_text(json.dumps({"database_url": URL, "redis_url": "redis://127.0.0.1:6399/0"}))
    (path / "secrets.json").write_text(json.dumps(secrets))
    return path


def test_a_home_with_servers_of_its_own_gives_everything(tmp_path: Path) -> None:
    home = a_home(tmp_path, secret_key="a2V5", postgres_admin_password="top")
    assert development_environment(home) == {
        "CHOWK_HOME": str(home),
        "DATABASE_URL": URL,
        "REDIS_URL": "redis://127.0.0.1:6399/0",
        "CHOWK_SECRET_KEY": "a2V5",
        "CHOWK_ADMIN_DATABASE_URL": "postgresql://chowk_admin:top@127.0.0.1:5499/chowk",
    }


def test_a_home_on_outside_servers_knows_no_administrator(tmp_path: Path) -> None:
    assert "CHOWK_ADMIN_DATABASE_URL" not in development_environment(a_home(tmp_path, secret_key="a2V5"))


def test_where_nothing_was_started_there_is_nothing(tmp_path: Path) -> None:
    assert development_environment(tmp_path) == {}
