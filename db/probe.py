"""Looking at the database from outside the work: does it answer, are its schemas current, what waits, who polls."""

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import DictRow
from psycopg_pool import PoolTimeout

from db.pools import Database
from db.transactions import DatabaseUnavailable, queue_tx

#: The `application_name` of connections that workers open begins with this.
WORKER_APPLICATION = "chowk worker"

DEPTHS = """
SELECT
  (SELECT count(*) FROM core.inbox WHERE state = 'new') AS inbox,
  (SELECT count(*) FROM core.inbox_events WHERE state = 'new') AS inbox_events,
  (SELECT count(*) FROM core.runs WHERE state = 'queued') AS runs,
  (SELECT count(*) FROM core.effects WHERE state IN ('queued', 'sending')) AS effects,
  (SELECT count(*) FROM core.effects WHERE state = 'unknown') AS effects_unknown,
  (SELECT count(*) FROM core.jobs WHERE state = 'queued' AND due_at <= now()) AS jobs_due,
  (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)::float8
     FROM core.inbox WHERE state = 'new') AS inbox_lag_s
"""


SERVER_FACTS = """
SELECT current_setting('server_version_num')::int AS version_number,
       current_setting('max_connections')::int AS connections_max,
       (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       pg_encoding_to_char(d.encoding) AS encoding, d.datctype AS character_type,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector_version
FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says of itself. `version_number` is 160004 for 16.4; `vector_version` None without pgvector."""

    version_number: int
    connections_max: int
    connections: int
    encoding: str
    character_type: str
    vector_version: str | None


@dataclass(frozen=True, slots=True)
class QueueDepths:
    """How many rows wait in each queue, and how old the oldest body in the inbox is."""

    waiting: dict[str, int]
    inbox_lag_s: float


async def core_version(database: Database) -> str:
    """The version of the shared schema, for example `core_0001`.

    Raises:
        DatabaseUnavailable: the database does not answer, or has never been migrated.
    """
    try:
        async with queue_tx(database, commit="probe.version") as connection:
            row = await (await connection.execute("SELECT version_num FROM core.schema_version")).fetchone()
    except psycopg.errors.Error as error:
        raise DatabaseUnavailable(f"the schema cannot be read: {error}; run `chowk migrate`") from error
    if row is None:
        raise DatabaseUnavailable("the database has no schema yet; run `chowk migrate`")
    return row["version_num"]


async def queue_depths(database: Database) -> QueueDepths:
    """What waits in each queue.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    async with queue_tx(database, commit="probe.depths") as connection:
        row = await (await connection.execute(DEPTHS)).fetchone()
    assert row is not None
    lag_s = row.pop("inbox_lag_s")
    return QueueDepths(row, lag_s)


async def worker_polled_at(database: Database) -> datetime | None:
    """When any worker last spoke to the database; None where none is connected.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    row = await _fetch(
        database,
        "SELECT max(state_change) AS polled_at FROM pg_stat_activity "
        f"WHERE application_name LIKE '{WORKER_APPLICATION}%'",
    )
    return row["polled_at"]


async def server_facts(database: Database) -> ServerFacts:
    """What the server says of itself.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    return ServerFacts(**await _fetch(database, SERVER_FACTS))


async def _fetch(database: Database, query: str) -> DictRow:
    """One row that the login itself may see: of the catalogue, and of what its own connections do."""
    try:
        async with database.app.connection() as connection:
            row = await (await connection.execute(query.encode())).fetchone()
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(f"the database does not answer: {error}") from error
    assert row is not None
    return row
