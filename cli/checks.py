"""What `chowk doctor` checks: each check gives one finding, or several, and what to do about them."""

import shutil
import sys

import psycopg
import redis.asyncio as redis
from psycopg_pool import PoolTimeout
from redis.exceptions import RedisError

from cli.database_checks import DATABASE_CHECKS
from cli.environment import connected
from cli.finding import Finding
from core.errors import ChowkError, SettingInvalid
from core.settings import GROUPS, RedisSettings, StorageSettings, load

PYTHON_MIN = (3, 11)
DISK_WARN_BYTES = 5 * 1024**3
DISK_FAIL_BYTES = 1024**3
REDIS_TIMEOUT_S = 2.0


async def examine() -> list[Finding]:
    """Look at everything, whatever else fails."""
    findings = [_python(), *_settings(), _disk()]
    findings.append(await _redis())
    try:
        async with connected() as database:
            findings.append(Finding("database login", "ok", "ordinary: no superuser, no BYPASSRLS, no inheritance"))
            for name, check in DATABASE_CHECKS.items():
                try:
                    findings.extend(await check(database))
                except (ChowkError, psycopg.Error) as error:
                    findings.append(Finding(name, "fail", str(error), "see the findings above this one"))
    except SettingInvalid as error:
        remedy = "set DATABASE_URL to the login chowk_app that `chowk migrate` makes"
        findings.append(Finding("database login", "fail", error.message, remedy))
    except (psycopg.Error, PoolTimeout) as error:
        remedy = "start PostgreSQL, and compare DATABASE_URL with where it listens"
        findings.append(Finding("database", "fail", f"does not answer: {error}", remedy))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info < PYTHON_MIN:
        return Finding("python", "fail", version, "install Python 3.11 or newer")
    return Finding("python", "ok", version)


def _settings() -> list[Finding]:
    findings: list[Finding] = []
    for group in GROUPS:
        try:
            load(group)
        except SettingInvalid as error:
            findings.append(Finding("settings", "fail", error.message, "set it as .env.example says"))
    return findings or [Finding("settings", "ok", f"{len(GROUPS)} groups load")]


def _disk() -> Finding:
    home = load(StorageSettings).home.resolve()
    folder = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < DISK_FAIL_BYTES:
        return Finding("disk", "fail", detail, "make room: PostgreSQL stops when it cannot write, and webhooks get 503")
    if free < DISK_WARN_BYTES:
        return Finding("disk", "warn", detail, "make room soon")
    return Finding("disk", "ok", detail)


async def _redis() -> Finding:
    client = redis.Redis.from_url(load(RedisSettings).url.get_secret_value(), socket_timeout=REDIS_TIMEOUT_S)
    try:
        version = (await client.info("server"))["redis_version"]
    except (RedisError, OSError) as error:
        remedy = "start Redis or correct REDIS_URL; until then everything works, up to a second slower"
        return Finding("redis", "warn", f"does not answer: {error}", remedy)
    finally:
        await client.aclose()
    return Finding("redis", "ok", f"version {version}")
