"""The checks of `chowk doctor` that need the database: the server, the schemas, the key, the workers, the queues."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from channels.accounts import webhook_source
from cli.finding import Finding
from core.clock import utc_now
from core.crypto import Sealer
from core.errors import Broken
from core.settings import DatabaseSettings, SecretSettings, load
from db.pools import EDGE_POOL_SIZE_MAX, Database
from db.probe import QueueDepths, ServerFacts, core_version, queue_depths, server_facts, worker_polled_at
from db.tenants import tenant_versions
from db.transactions import edge_tx, queue_tx
from db.versions import needed_versions, newest_versions, number

POSTGRES_MIN = 160000
#: Connections that the server keeps for administrators, and room for a person with psql.
CONNECTIONS_RESERVED = 10
#: Each process has a pool for transactions and one for checkpoints, beside the small one of the edge.
POOLS_PER_PROCESS = 2
#: The least installation has an API process and a worker process.
PROCESSES_MIN = 2
WORKER_SILENT_S = 10.0
INBOX_LAG_WARN_S = 10.0
INBOX_LAG_FAIL_S = 120.0


async def check_server(database: Database) -> list[Finding]:
    """The server's version, pgvector, encoding, and whether the pools fit."""
    return describe_server(await server_facts(database), pool_size_max=load(DatabaseSettings).pool_size_max)


def describe_server(facts: ServerFacts, *, pool_size_max: int) -> list[Finding]:
    """What the server's facts mean for Chowk."""
    version = f"PostgreSQL {facts.version_number // 10000}.{facts.version_number % 10000}"
    too_old = facts.version_number < POSTGRES_MIN
    findings = [Finding("postgres", "fail" if too_old else "ok", version, "upgrade to 16 or newer" if too_old else "")]
    if facts.vector_version is None:
        remedy = "have an administrator run: CREATE EXTENSION vector"
        findings.append(Finding("pgvector", "fail", "not installed in this database", remedy))
    else:
        findings.append(Finding("pgvector", "ok", f"version {facts.vector_version}"))
    findings.append(_encoding(facts))
    findings.append(_pools(facts, pool_size_max=pool_size_max))
    return findings


def _encoding(facts: ServerFacts) -> Finding:
    detail = f"{facts.encoding}, {facts.character_type}"
    if facts.encoding != "UTF8":
        remedy = "make a database with ENCODING 'UTF8' and move to it: Hindi and Tamil cannot be stored in this one"
        return Finding("encoding", "fail", detail, remedy)
    if facts.character_type in {"C", "POSIX"}:
        remedy = "make the database with LOCALE 'C.UTF-8': with C, search knows no letters beyond English ones"
        return Finding("encoding", "warn", detail, remedy)
    return Finding("encoding", "ok", detail)


def _pools(facts: ServerFacts, *, pool_size_max: int) -> Finding:
    per_process = pool_size_max * POOLS_PER_PROCESS + EDGE_POOL_SIZE_MAX
    usable = facts.connections_max - CONNECTIONS_RESERVED
    detail = (
        f"{facts.connections} of {facts.connections_max} connections in use; a process takes up to {per_process}, "
        f"so {max(usable, 0) // per_process} processes fit"
    )
    if usable < per_process * PROCESSES_MIN:
        remedy = "raise max_connections in PostgreSQL, or lower CHOWK_DATABASE_POOL_SIZE_MAX"
        return Finding("pools", "fail", detail, remedy)
    if facts.connections > usable:
        return Finding("pools", "warn", detail, "run fewer processes, or raise max_connections in PostgreSQL")
    return Finding("pools", "ok", detail)


async def check_migrations(database: Database) -> list[Finding]:
    """Whether the shared schema and every tenant's have what this code needs, and whether all of it has run."""
    return [describe_versions(await core_version(database), await tenant_versions(database))]


def describe_versions(core: str, tenants: Mapping[str, str | None]) -> Finding:
    """What it means that `core` and the tenants, by their slugs, are at these versions."""
    needed, newest = needed_versions(), newest_versions()
    if number(core) < number(needed["core"]):
        return Finding("migrations", "fail", f"core is at {core}, not {needed['core']}", "run: chowk migrate")
    behind = [slug for slug, version in tenants.items() if number(version) < number(needed["tenant"])]
    if behind:
        detail = f"{len(behind)} tenant(s) behind {needed['tenant']}: {', '.join(behind[:5])}"
        return Finding("migrations", "fail", detail, "run: chowk migrate")
    unfinished = sum(number(version) < number(newest["tenant"]) for version in tenants.values())
    if unfinished or number(core) < number(newest["core"]):
        detail = f"core {core}; {unfinished} tenant(s) before {newest['tenant']}: what old code needed is still there"
        return Finding("migrations", "warn", detail, "once the new code runs everywhere: chowk migrate --post")
    return Finding("migrations", "ok", f"core {core}; {len(tenants)} tenant(s) at {newest['tenant']}")


async def check_secret_key(database: Database) -> list[Finding]:
    """Whether CHOWK_SECRET_KEY opens what is sealed here."""
    sealer = Sealer(load(SecretSettings).key())
    async with queue_tx(database, commit="doctor.account") as connection:
        row = await (await connection.execute("SELECT id FROM core.accounts ORDER BY id DESC LIMIT 1")).fetchone()
    if row is None:
        detail = "no account is registered yet, so nothing is sealed with it"
        return [Finding("secret key", "ok", detail, "add one: chowk account add")]
    try:
        async with edge_tx(database, commit="doctor.secrets") as connection:
            await webhook_source(connection, sealer, row["id"])
    except Broken:
        detail = f"does not open the secrets of {row['id']}"
        return [Finding("secret key", "fail", detail, "set CHOWK_SECRET_KEY to the key they were sealed with")]
    return [Finding("secret key", "ok", f"opens the secrets of {row['id']}")]


async def check_worker(database: Database) -> list[Finding]:
    """Whether a worker polls."""
    return [describe_worker(await worker_polled_at(database), now=utc_now())]


def describe_worker(polled_at: datetime | None, *, now: datetime) -> Finding:
    """What it means that a worker last spoke to the database then."""
    if polled_at is None:
        return Finding("worker", "warn", "none is connected: webhooks are stored and wait", "start: chowk worker")
    silent_s = (now - polled_at).total_seconds()
    if silent_s > WORKER_SILENT_S:
        return Finding("worker", "warn", f"none has polled for {silent_s:.0f} s", "look at the worker's log")
    return Finding("worker", "ok", "polls")


async def check_queues(database: Database) -> list[Finding]:
    """How much waits, and for how long."""
    return [describe_queues(await queue_depths(database))]


def describe_queues(depths: QueueDepths) -> Finding:
    """What the depths mean."""
    waiting = ", ".join(f"{count} in {queue}" for queue, count in depths.waiting.items() if count)
    detail = f"the oldest webhook waits for {depths.inbox_lag_s:.0f} s; {waiting or 'nothing waits'}"
    if depths.inbox_lag_s > INBOX_LAG_FAIL_S:
        return Finding("queues", "fail", detail, "start more workers, or see why the running ones do not keep up")
    if depths.inbox_lag_s > INBOX_LAG_WARN_S:
        return Finding("queues", "warn", detail, "watch it; start more workers if it grows")
    return Finding("queues", "ok", detail)


DATABASE_CHECKS: Final[Mapping[str, Callable[[Database], Awaitable[list[Finding]]]]] = MappingProxyType(
    {
        "postgres": check_server,
        "migrations": check_migrations,
        "secret key": check_secret_key,
        "worker": check_worker,
        "queues": check_queues,
    }
)
