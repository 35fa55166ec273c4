"""Connections of the administrator, who alone may make roles and schemas. No process that serves requests has one."""

import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import psycopg
from psycopg.rows import DictRow, dict_row
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from core.errors import SettingInvalid

Session: TypeAlias = psycopg.Connection[DictRow]
Given = TypeVar("Given")

#: Any number no other program uses: "chowk" in hexadecimal. Held alone to change what all tenants share.
MIGRATION_LOCK = 0x63686F776B
#: How long the small acts of an administrator wait for a lock.
LOCK_TIMEOUT_MS = 10_000
#: A migration waits less: whoever wants the table after it waits behind it.
MIGRATION_LOCK_TIMEOUT_MS = 2_000
POSTGRES_MIN = 160000

#: A lock was not to be had in time, or two transactions waited for each other: the server undid ours.
PASSING = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
ATTEMPTS_MAX = 5
PAUSE_S = 0.5


@contextmanager
def administrator(admin_url: str) -> Generator[SqlConnection, None, None]:
    """A transaction that acts as `chowk_owner`, alone among administrators; commits when the block ends well."""
    with alone(admin_url, lock_timeout_ms=LOCK_TIMEOUT_MS) as connection:
        connection.execute(text("SET ROLE chowk_owner"))
        yield connection


@contextmanager
def alone(admin_url: str, *, lock_timeout_ms: int) -> Generator[SqlConnection, None, None]:
    """A transaction of the administrator, which waits until no other one changes what all tenants share.

    Raises:
        SettingInvalid: the server is too old.
    """
    url = make_url(admin_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool, connect_args={"application_name": "chowk administrator"})
    try:
        with engine.begin() as connection:
            _refuse_old(int(connection.execute(text("SHOW server_version_num")).scalar_one()))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            connection.execute(text(f"SET LOCAL lock_timeout = {lock_timeout_ms}"))
            yield connection
    finally:
        engine.dispose()


@contextmanager
def session(admin_url: str) -> Generator[Session, None, None]:
    """A connection of the administrator, without a transaction.

    Raises:
        SettingInvalid: the server is too old.
    """
    with psycopg.Connection[DictRow].connect(
        admin_url,
        autocommit=True,
        row_factory=dict_row,
        prepare_threshold=None,  # several statements are sent as one, and such a string cannot be prepared
        application_name="chowk administrator",
    ) as connection:
        _refuse_old(connection.info.server_version)
        yield connection


def retried(transaction: Callable[[], Given]) -> Given:
    """What a whole transaction gives, tried again while it fails for a passing reason; then its last error."""
    for attempt in range(1, ATTEMPTS_MAX):
        try:
            return transaction()
        except (psycopg.Error, DBAPIError) as error:
            if not isinstance(error.orig if isinstance(error, DBAPIError) else error, PASSING):
                raise
        time.sleep(pause_s(attempt))
    return transaction()


def pause_s(attempt: int) -> float:
    """How long to wait after an attempt, the first being 1: longer each time, and no two programs equally long."""
    return PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311  # spreads attempts, keeps no secret


def _refuse_old(version: int) -> None:
    if version < POSTGRES_MIN:  # 16 brought GRANT … WITH INHERIT, SET
        raise SettingInvalid(f"PostgreSQL {version // 10000} is too old; Chowk needs 16 or newer")
