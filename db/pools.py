"""The connections of one process: a pool for our transactions, one of the webhook edge, one that only checkpoints use.

Connections are in autocommit mode: a transaction begins and ends where `db.transactions` says so, in one round trip.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, TypeAlias

from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from core.errors import SettingInvalid
from core.settings import DatabaseSettings
from db.binary_arrays import take_binary_arrays
from db.checkpoint_pool import CheckpointPool
from db.steady_pool import NEVER, SteadyPool

Connection: TypeAlias = AsyncConnection[DictRow]
Pool: TypeAlias = AsyncConnectionPool[Connection]

#: A backend keeps the catalogue of every tenant it has met in memory: 709 MB after 1,000 of them. So it is recycled.
CONNECTION_LIFETIME_S = 600.0
CHECKOUT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5
#: One stores webhooks, the others look up who may send them and who calls.
EDGE_POOL_SIZE_MAX = 3
#: A process that is stopped inside a transaction (a paused machine, SIGSTOP) would keep its locks for as long as it
#: sleeps, and nobody could take over what it holds.
IDLE_IN_TRANSACTION_MS_MAX = 5_000
OPTIONS = f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS_MAX}"
#: Any: these are keywords of libpq, which types them itself.
KEYWORDS: dict[str, Any] = {
    "autocommit": True, "row_factory": dict_row, "connect_timeout": CONNECT_TIMEOUT_S, "options": OPTIONS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Database:
    """The pools of this process. Open it once per process, inside the event loop that uses it."""

    app: Pool
    #: Its connections are `chowk_edge` from the start, and no reader can take them from the webhooks.
    edge: Pool
    checkpoints: CheckpointPool

    async def close(self) -> None:
        """Close every connection. Takes at most as long as one pool may: a stopping process has little time."""
        await asyncio.gather(self.app.close(), self.edge.close(), self.checkpoints.close())


async def open_database(settings: DatabaseSettings, *, application: str) -> Database:
    """Open the pools and refuse a login that could see past row-level security.

    Raises:
        SettingInvalid: the login is a superuser or bypasses row-level security.
        psycopg_pool.PoolTimeout: the server does not answer.
    """
    keywords = KEYWORDS | {"application_name": f"chowk {application}"}
    url = settings.url.get_secret_value()
    app: Pool = SteadyPool(
        url, kwargs=keywords, min_size=1, max_size=settings.pool_size_max, open=False,
        timeout=CHECKOUT_TIMEOUT_S, max_lifetime=CONNECTION_LIFETIME_S, name="app", reconnect_timeout=NEVER,
    )  # fmt: skip
    edge_keywords = keywords | {"options": f"{OPTIONS} -c role=chowk_edge"}
    edge: Pool = SteadyPool(
        url, kwargs=edge_keywords, min_size=0, max_size=EDGE_POOL_SIZE_MAX, open=False,
        timeout=CHECKOUT_TIMEOUT_S, max_lifetime=CONNECTION_LIFETIME_S, name="edge", reconnect_timeout=NEVER,
        configure=take_binary_arrays,
    )  # fmt: skip
    checkpoints = CheckpointPool(
        url, kwargs=keywords, min_size=1, max_size=settings.pool_size_max, open=False,
        timeout=CHECKOUT_TIMEOUT_S, max_lifetime=CONNECTION_LIFETIME_S, name="checkpoints", reconnect_timeout=NEVER,
    )  # fmt: skip
    await app.open(wait=True, timeout=30)
    try:
        await refuse_unsafe_login(app)
        await edge.open()
        await checkpoints.open()
    except BaseException:
        await app.close()
        await edge.close()
        raise
    return Database(app, edge, checkpoints)


async def refuse_unsafe_login(pool: Pool) -> None:
    """Raise unless the login is an ordinary one.

    A superuser ignores even forced row-level security, so one forgotten filter would show every tenant's rows.

    Raises:
        SettingInvalid: the login is a superuser or has BYPASSRLS.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolinherit FROM pg_roles WHERE rolname = session_user"
        )
        login = await cursor.fetchone()
    assert login is not None
    if login["rolsuper"] or login["rolbypassrls"]:
        raise SettingInvalid(
            f"DATABASE_URL logs in as {login['rolname']!r}, which is a superuser or has BYPASSRLS and would see every "
            "tenant's rows; use the login chowk_app that `chowk migrate` makes"
        )
    if login["rolinherit"]:
        raise SettingInvalid(
            f"DATABASE_URL logs in as {login['rolname']!r}, which inherits the rights of its roles; "
            "use the login chowk_app that `chowk migrate` makes (NOINHERIT)"
        )
