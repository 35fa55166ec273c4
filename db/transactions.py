"""The openers: the only places where a transaction begins and commits.

Each becomes one narrow role for the length of one transaction. The login itself may do nothing, so a statement that
runs outside an opener is refused by the database.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg

from core.errors import Broken, NotDurable
from core.ids import TenantId, is_id
from db.faults import fault
from db.pools import Connection, Database, Pool

#: After the server restarts, this many dead connections may come out of the pool before a live one does.
DEAD_CONNECTIONS_MAX = 80
#: The last one the library counts among defects: the server ended a transaction in which this process slept too long.
UNAVAILABLE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.IdleInTransactionSessionTimeout)


class DatabaseUnavailable(NotDurable):
    """The database did not answer or gave up the transaction; nothing was committed, or it is not known to be."""


@asynccontextmanager
async def tenant_tx(database: Database, tenant_id: TenantId, *, commit: str) -> AsyncGenerator[Connection, None]:
    """A transaction that sees one tenant: its own schema, and its rows of `core`. `commit` names its fault point.

    Raises:
        DatabaseUnavailable: the database did not answer, or gave up the transaction.
    """
    if not is_id(tenant_id, "t"):
        raise Broken(f"{tenant_id!r} is not a tenant id")
    opening = f'BEGIN; SET LOCAL ROLE "{tenant_id}"; SET LOCAL search_path TO "{tenant_id}", public'
    async with _transaction(database.app, opening, commit) as connection:
        yield connection


@asynccontextmanager
async def edge_tx(database: Database, *, commit: str) -> AsyncGenerator[Connection, None]:
    """A transaction that may insert into the inbox and look up who may send to it, and read nothing.

    Raises:
        DatabaseUnavailable: the database did not answer, or gave up the transaction.
    """
    async with _transaction(database.edge, "BEGIN", commit) as connection:
        yield connection


async def edge_insert(database: Database, statement: str, values: Sequence[bytes], *, commit: str) -> int | None:
    """One INSERT of the webhook edge, which is a transaction of its own and takes one round trip.

    Gives how many rows were new; None where that is not known, because the connection died while it was asked and the
    statement was sent again over another. So it must be one that may run twice.

    Raises:
        DatabaseUnavailable: the database did not answer, or gave up the statement.
    """
    again = False
    for _ in range(DEAD_CONNECTIONS_MAX):
        connection = await _checked_out(database.edge)
        try:
            fault(f"{commit}.before_commit")
            cursor = await connection.execute(statement.encode(), values)
            fault(f"{commit}.after_commit")
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            if not (connection.broken or connection.closed):
                raise DatabaseUnavailable(f"{commit}: {str(error).strip() or type(error).__name__}") from error
            again = True
        else:
            return None if again else cursor.rowcount
        finally:
            await database.edge.putconn(connection)
    raise DatabaseUnavailable("every database connection was dead; the server may be restarting")


@asynccontextmanager
async def queue_tx(database: Database, *, commit: str) -> AsyncGenerator[Connection, None]:
    """A transaction over the queues of all tenants: claims, leases and sweeps, never a customer's text.

    Raises:
        DatabaseUnavailable: the database did not answer, or gave up the transaction.
    """
    async with _transaction(database.app, "BEGIN; SET LOCAL ROLE chowk_queue", commit) as connection:
        yield connection


@asynccontextmanager
async def _transaction(pool: Pool, opening: str, commit: str) -> AsyncGenerator[Connection, None]:
    connection = await _begin(pool, opening)
    try:
        try:
            yield connection
            fault(f"{commit}.before_commit")
            await connection.execute("COMMIT")
            fault(f"{commit}.after_commit")
        except BaseException:
            with suppress(psycopg.Error):
                await connection.execute("ROLLBACK")
            raise
    except UNAVAILABLE as error:
        raise DatabaseUnavailable(f"{commit}: {str(error).strip() or type(error).__name__}; try again") from error
    finally:
        await pool.putconn(connection)


async def _begin(pool: Pool, opening: str) -> Connection:
    """Check out a connection and begin; dead connections that a server restart left in the pool are passed over."""
    for _ in range(DEAD_CONNECTIONS_MAX):
        connection = await _checked_out(pool)
        try:
            await connection.execute(opening.encode(), prepare=False)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            broken = connection.broken or connection.closed
            await pool.putconn(connection)
            if not broken:
                raise DatabaseUnavailable(f"the transaction did not begin: {error}") from error
            continue
        except BaseException:
            await pool.putconn(connection)
            raise
        return connection
    raise DatabaseUnavailable("every database connection was dead; the server may be restarting")


async def _checked_out(pool: Pool) -> Connection:
    try:
        return await pool.getconn()
    except psycopg.OperationalError as error:  # none became free in time, or the pool is closed
        raise DatabaseUnavailable(f"no database connection is to be had: {error}; try again") from error
