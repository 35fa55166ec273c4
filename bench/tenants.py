"""Tenants at scale: what one costs to make and to keep, and how fast all of them are migrated.

    python -m bench.tenants [--tenants 1000] [--parallel 4] [--peer-sample 100]

makes tenants one after the other on an embedded PostgreSQL, as `chowk tenant create` does; then a made-up next release
adds a column to every one of them. A sample is migrated by the peer, a plain loop over Alembic's own upgrade; the
others by `chowk migrate`. A second such release is killed with SIGKILL halfway and run again. Prints one JSON object
last.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from bench.cpu import cpu_s, find_below
from bench.embedded_servers import Servers, embedded_servers
from bench.next_release import write_release
from bench.stock_alembic import upgrade_schemas
from core.ids import TenantId
from db.administrator import session
from db.provision import create_tenant
from db.tenant_schemas import list_schemas

Argument = TypeVar("Argument")

CREATE_P50_MS_AIM = 150
CREATE_P99_MS_AIM = 300
MB_AIM = 0.85
SCHEMAS_PER_S_AIM = 200
LOOK_AGAIN_S = 0.01
NOTE = "ALTER TABLE contacts ADD COLUMN note text"
LABEL = "ALTER TABLE contacts ADD COLUMN label text"


def measure_creation(servers: Servers, count: int) -> tuple[list[TenantId], dict[str, float]]:
    """Make so many tenants, one after the other; gives their ids, and time, processor time and room for each."""
    postgres = find_below(servers.runner.pid, "postgres")
    made: list[TenantId] = []
    milliseconds: list[float] = []
    before_bytes, before_s, before_own_s = database_bytes(servers), cpu_s([postgres]), time.process_time()
    for place in range(count):
        began = time.perf_counter()
        made.append(create_tenant(servers.admin_url, slug=f"bench-{place}", name="An organisation"))
        milliseconds.append((time.perf_counter() - began) * 1000)
    return made, {
        **_spread(milliseconds),
        "first_100_p50_ms": round(statistics.median(milliseconds[:100]), 1),
        "last_100_p50_ms": round(statistics.median(milliseconds[-100:]), 1),
        "cpu_ms_postgres": round((cpu_s([postgres]) - before_s) * 1000 / count, 2),
        "cpu_ms_python": round((time.process_time() - before_own_s) * 1000 / count, 2),
        "mb_per_tenant": round((database_bytes(servers) - before_bytes) / count / 1e6, 3),
    }


def database_bytes(servers: Servers) -> int:
    """What the database takes on disk, catalogues included."""
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    return row[0]


def measure_transactions(servers: Servers, tenants: Sequence[TenantId]) -> dict[str, float]:
    """How long it takes to become a tenant where there are so many, in milliseconds."""
    with psycopg.connect(servers.app_url, autocommit=True) as connection:

        def become(tenant_id: TenantId) -> None:
            opening = f"BEGIN; SET LOCAL ROLE {tenant_id}; SET LOCAL search_path TO {tenant_id}, public; COMMIT"
            connection.execute(opening.encode())

        first_ms = _timed(become, tenants[0])
        usual_ms = [_timed(become, tenants[place % len(tenants)]) for place in range(200)]
        create_tenant(servers.admin_url, slug="one-more", name="One more")
        after_ms = _timed(become, tenants[0])
    with session(servers.admin_url) as connection:
        versions_ms = statistics.median(_timed(list_schemas, connection) for _ in range(5))
    return {
        "become_tenant_first_ms": round(first_ms, 2),
        "become_tenant_p50_ms": round(statistics.median(usual_ms), 2),
        "become_tenant_after_a_creation_ms": round(after_ms, 2),
        "versions_of_all_ms": round(versions_ms, 2),
    }


def measure_peer(servers: Servers, sample: Sequence[TenantId], release: Path, newest: str) -> dict[str, float]:
    """Migrate these by the plain loop, then tell `chowk migrate` that they are done."""
    postgres = find_below(servers.runner.pid, "postgres")
    before_s, before_own_s, began = cpu_s([postgres]), time.process_time(), time.perf_counter()
    upgrade_schemas(servers.admin_url, sample, migrations=release)
    seconds = time.perf_counter() - began
    figures = _rate(len(sample), seconds, cpu_s([postgres]) - before_s, time.process_time() - before_own_s)
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        for tenant_id in sample:
            connection.execute(f"COMMENT ON SCHEMA {tenant_id} IS '{newest}'".encode())
    return figures


def measure_migration(servers: Servers, release: Path, *, parallel: int) -> dict[str, float]:
    """Migrate everybody else as `chowk migrate` does; the seconds leave out that Python starts."""
    postgres = find_below(servers.runner.pid, "postgres")
    before_s, began = cpu_s([postgres]), time.perf_counter()
    with start_migration(release, parallel=parallel) as process:
        told, _ = process.communicate()
    assert process.returncode == 0, told
    outcome = json.loads(told)
    return {
        **_rate(outcome["migrated"], outcome["seconds"], cpu_s([postgres]) - before_s, None),
        "with_start_of_python_s": round(time.perf_counter() - began, 2),
        "already_there": outcome["current"],
    }


def measure_resumption(servers: Servers, release: Path, newest: str, *, parallel: int) -> dict[str, float]:
    """Kill a migration halfway, run it again, and count whom the second run visited although the first had."""
    with start_migration(release, parallel=parallel) as process, session(servers.admin_url) as connection:
        while True:
            schemas = list_schemas(connection)
            if sum(schema.version == newest for schema in schemas) >= len(schemas) / 2:
                break
            time.sleep(LOOK_AGAIN_S)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    wait_for_backends(servers)
    first = visits(servers, newest)
    with start_migration(release, parallel=parallel) as process:
        told, _ = process.communicate()
    outcome = json.loads(told)
    last = visits(servers, newest)
    return {
        "tenants": outcome["tenants"],
        "by_the_killed_run": len(first),
        "by_the_second_run": outcome["migrated"],
        "second_run_s": round(outcome["seconds"], 2),
        "visited_twice": sum(last[schema] != visit for schema, visit in first.items()),
        "left_behind": outcome["tenants"] - len(last),
    }


def start_migration(release: Path, *, parallel: int) -> "subprocess.Popen[str]":
    """`chowk migrate --json`, as that release would."""
    command = [sys.executable, "-m", "bench.next_release", str(release), "migrate", "--json"]
    return subprocess.Popen([*command, "--parallel", str(parallel)], stdout=subprocess.PIPE, text=True)


def wait_for_backends(servers: Servers) -> None:
    """Until the server has noticed that the killed process is gone, and undone what it had not committed."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chowk administrator'"
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        while connection.execute(others).fetchone() != (0,):
            time.sleep(LOOK_AGAIN_S)


def visits(servers: Servers, version: str) -> dict[str, str]:
    """The transaction that last wrote each tenant's version, of those that are at this one. Each visit writes it."""
    with psycopg.connect(servers.admin_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT objoid::regnamespace::text, xmin::text FROM pg_description "
            "WHERE classoid = 'pg_namespace'::regclass AND description = %s",
            (version,),
        )
        return dict(rows.fetchall())


def _timed(act: Callable[[Argument], object], argument: Argument) -> float:
    began = time.perf_counter()
    act(argument)
    return (time.perf_counter() - began) * 1000


def _spread(milliseconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1), "max_ms": round(max(milliseconds), 1)}


def _rate(schemas: int, seconds: float, postgres_s: float, python_s: float | None) -> dict[str, float]:
    figures = {
        "schemas": schemas,
        "seconds": round(seconds, 2),
        "schemas_per_s": round(schemas / seconds, 1),
        "cpu_ms_postgres": round(postgres_s * 1000 / schemas, 2),
    }
    return figures if python_s is None else {**figures, "cpu_ms_python": round(python_s * 1000 / schemas, 2)}


def measure(servers: Servers, folder: Path, asked: Any) -> dict[str, Any]:  # Any: parsed options, JSON
    """All of it, one after the other."""
    tenants, creation = measure_creation(servers, asked.tenants)
    transactions = measure_transactions(servers, tenants)
    first, second = folder / "first", folder / "second"
    noted, labelled = write_release(first, [("pre", NOTE)]), write_release(second, [("pre", NOTE), ("pre", LABEL)])
    peer = measure_peer(servers, tenants[:: max(1, len(tenants) // asked.peer_sample)], first, noted)
    migration = measure_migration(servers, first, parallel=asked.parallel)
    resumption = measure_resumption(servers, second, labelled, parallel=asked.parallel)
    return {
        "bench": "tenants",
        "tenants": asked.tenants,
        "parallel": asked.parallel,
        "creation": creation,
        "transactions": transactions,
        "stock_alembic": peer,
        "migration": migration,
        "times_stock_alembic": round(migration["schemas_per_s"] / peer["schemas_per_s"], 1),
        "killed_halfway": resumption,
        "aims": {
            f"creation p50 <= {CREATE_P50_MS_AIM} ms": creation["p50_ms"] <= CREATE_P50_MS_AIM,
            f"creation p99 <= {CREATE_P99_MS_AIM} ms": creation["p99_ms"] <= CREATE_P99_MS_AIM,
            f"an empty tenant <= {MB_AIM} MB": creation["mb_per_tenant"] <= MB_AIM,
            f"migration >= {SCHEMAS_PER_S_AIM} schemas/s": migration["schemas_per_s"] >= SCHEMAS_PER_S_AIM,
            "nobody visited twice or left behind": not (resumption["visited_twice"] or resumption["left_behind"]),
        },
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--peer-sample", type=int, default=100)
    asked = parser.parse_args()
    with embedded_servers() as servers, tempfile.TemporaryDirectory(prefix="chowk-bench-") as folder:
        figures = measure(servers, Path(folder), asked)
    for name in ("creation", "transactions", "stock_alembic", "migration", "killed_halfway"):
        print(f"{name}:", *(f"\n  {key}: {value}" for key, value in figures[name].items()))
    for aim, met in figures["aims"].items():
        print(f"{'met   ' if met else 'MISSED'}  {aim}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
