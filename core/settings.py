"""Settings: small groups, read from the environment, checked when they are loaded.

A setting exists only where two deployments need different values; tuning values are named constants in the
module that uses them. Every variable stands in `.env.example` with its meaning; a test compares the two.
"""

import base64
import binascii
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingInvalid

SECRET_KEY_BYTES = 32


class SettingsGroup(BaseSettings):
    """A few settings that one part of the product reads together."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)


class DatabaseSettings(SettingsGroup):
    """Where PostgreSQL is. `url` is the login `chowk_app`; `admin_url` migrates and provisions, nothing else."""

    url: SecretStr = Field(alias="DATABASE_URL")
    admin_url: SecretStr | None = Field(None, alias="CHOWK_ADMIN_DATABASE_URL")
    pool_size_max: int = Field(8, ge=1, le=64, alias="CHOWK_DATABASE_POOL_SIZE_MAX")


class RedisSettings(SettingsGroup):
    """Where Redis is. It rings bells and caches; nothing is lost when it is."""

    url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), alias="REDIS_URL")


class SecretSettings(SettingsGroup):
    """The key that wraps every other key: 32 random bytes, base64."""

    secret_key: SecretStr = Field(alias="CHOWK_SECRET_KEY")

    @field_validator("secret_key")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        try:
            length = len(base64.b64decode(value.get_secret_value(), validate=True))
        except binascii.Error as error:
            raise ValueError("is not base64; make one with: openssl rand -base64 32") from error
        if length != SECRET_KEY_BYTES:
            raise ValueError(f"holds {length} bytes, not {SECRET_KEY_BYTES}; make one with: openssl rand -base64 32")
        return value

    def key(self) -> bytes:
        """The 32 bytes."""
        return base64.b64decode(self.secret_key.get_secret_value())


class StorageSettings(SettingsGroup):
    """Where files live: `home` for the embedded stack, `blob_url` for large sealed bodies and media."""

    home: Path = Field(Path(".chowk"), alias="CHOWK_HOME")
    blob_url: str | None = Field(None, alias="CHOWK_BLOB_URL")

    def blobs(self) -> str:
        """The object store's URL; a folder below `home` unless one is set."""
        return self.blob_url or (self.home.resolve() / "blobs").as_uri()


class ModelSettings(SettingsGroup):
    """Which chat model answers: `offline`, or `provider:model` such as `google_genai:gemini-2.5-flash`."""

    model: str = Field("offline", alias="CHOWK_MODEL", pattern=r"^(offline|[a-z_]+:.+)$")
    #: What its tokens cost, for the cost of runs. 0 where it costs nothing or nobody wants to know.
    input_usd_per_million: float = Field(0.0, ge=0, alias="CHOWK_MODEL_INPUT_USD_PER_MILLION")
    output_usd_per_million: float = Field(0.0, ge=0, alias="CHOWK_MODEL_OUTPUT_USD_PER_MILLION")
    google_api_key: SecretStr | None = Field(None, alias="GOOGLE_API_KEY")
    google_base_url: str | None = Field(None, alias="GOOGLE_GEMINI_BASE_URL")


class MetaSettings(SettingsGroup):
    """Where Meta's Graph API is; an emulator or a proxy can stand in."""

    graph_url: str = Field("https://graph.facebook.com", alias="CHOWK_META_GRAPH_URL")
    graph_version: str = Field("v26.0", alias="CHOWK_META_GRAPH_VERSION", pattern=r"^v\d+\.\d+$")


class EdgeSettings(SettingsGroup):
    """How much the webhook edge holds in memory before it sheds."""

    inflight_bytes_max: int = Field(256 * 1024 * 1024, ge=1024 * 1024, alias="CHOWK_EDGE_INFLIGHT_BYTES_MAX")


class TurnSettings(SettingsGroup):
    """How a worker paces conversations."""

    #: How long a conversation must be quiet before it is answered; a burst becomes one turn. 0 answers at once.
    debounce_ms: int = Field(600, ge=0, le=60_000, alias="CHOWK_DEBOUNCE_MS")
    #: How many turns one worker process runs at once.
    turns_concurrent_max: int = Field(16, ge=1, le=256, alias="CHOWK_TURNS_CONCURRENT_MAX")
    #: How long a claimed turn stays ours without a heartbeat.
    lease_s: float = Field(5.0, gt=0.5, le=600, alias="CHOWK_TURN_LEASE_S")
    #: How long a stopping worker lets its turns reach a step boundary.
    drain_s: float = Field(20.0, ge=0, le=600, alias="CHOWK_DRAIN_S")


class RetentionSettings(SettingsGroup):
    """How long what strangers sent is kept, and what runs stored on their way."""

    raw_body_retention_h: int = Field(24, ge=0, le=24 * 30, alias="CHOWK_RAW_BODY_RETENTION_H")
    #: After so many days without a run a conversation's checkpoints are deleted; 0 keeps them for ever.
    checkpoint_retention_d: int = Field(30, ge=0, le=3650, alias="CHOWK_CHECKPOINT_RETENTION_D")


class LogSettings(SettingsGroup):
    """How loud the log is."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", alias="CHOWK_LOG_LEVEL")


GROUPS: tuple[type[SettingsGroup], ...] = (
    DatabaseSettings,
    RedisSettings,
    SecretSettings,
    StorageSettings,
    ModelSettings,
    MetaSettings,
    EdgeSettings,
    TurnSettings,
    RetentionSettings,
    LogSettings,
)

Group = TypeVar("Group", bound=SettingsGroup)


def load(group: type[Group]) -> Group:
    """Read one group from the environment.

    Raises:
        SettingInvalid: a variable is missing or wrong; the message names it and says why.
    """
    try:
        return group()
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise SettingInvalid("; ".join(lines) + " (see .env.example)") from None
