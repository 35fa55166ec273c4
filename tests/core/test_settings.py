import base64

import pytest

from core.errors import SettingInvalid
from core.settings import DatabaseSettings, ModelSettings, RedisSettings, SecretSettings, TurnSettings, load


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SettingInvalid, match="DATABASE_URL"):
        load(DatabaseSettings)


@pytest.mark.parametrize("key", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_wrong_secret_key_is_refused_with_the_way_to_make_one(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("CHOWK_SECRET_KEY", key)
    with pytest.raises(SettingInvalid, match="openssl rand -base64 32"):
        load(SecretSettings)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(b"s" * 32).decode()
    monkeypatch.setenv("CHOWK_SECRET_KEY", key)
    monkeypatch.setenv("DATABASE_URL", "postgresql://chowk_app:canary@127.0.0.1/chowk")
    assert key not in repr(load(SecretSettings))
    assert "canary" not in repr(load(DatabaseSettings))


@pytest.mark.parametrize(("name", "value"), [("CHOWK_DEBOUNCE_MS", "-1"), ("CHOWK_TURN_LEASE_S", "soon")])
def test_a_number_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingInvalid, match=name):
        load(TurnSettings)


def test_a_model_is_offline_or_has_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOWK_MODEL", "gemini")
    with pytest.raises(SettingInvalid, match="CHOWK_MODEL"):
        load(ModelSettings)


def test_a_variable_that_only_has_a_fields_name_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", "redis://elsewhere:1/0")
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert load(RedisSettings).url.get_secret_value() == "redis://127.0.0.1:6379/0"
