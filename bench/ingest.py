"""What it costs to acknowledge a webhook durably, beside two servers that do less.

    python -m bench.ingest [--rounds 5] [--seconds 4] [--connections 64] [--workers 1]

durable    our API: signature, sealing, one Postgres commit for many requests, then 200
unstored   the same server and the same checks, answering 200 without storing: the floor
celery     FastAPI and `task.delay()` on the same Redis, not durable: what most services do

All are served by the same server with the same options, in the same run, in rounds that follow each other, so that
another program on the machine disturbs all of them alike. Bodies are WhatsApp's, about 550 bytes, signed, each with an
id of its own. The load client is a process of its own and is not counted; nor is what takes the rings (a worker would).
Another program on the machine can only add to what an event costs (switches, cold caches), so the aims are judged by
each variant's least disturbed round, the one with the least processor time per event; the medians stand beside it.
Prints tables, and one JSON object last.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from redis.exceptions import RedisError

from bench.cpu import cpu_s, find_below
from bench.scene import PEER_QUEUE, SIGNING_SECRET, ApiServer, Scene, api_server, bench_scene

CPU_US_MAX = 110
TIMES_UNSTORED_MAX = 2.5
TIMES_CELERY_RATE_MIN = 5
WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One server under test."""

    name: str
    factory: str
    #: Where the load goes; `{account}` is filled in.
    path: str
    #: Any path that answers.
    ready_path: str


VARIANTS = (
    Variant("durable", "api.app:create_app", "/webhooks/whatsapp/{account}", "/healthz"),
    Variant("unstored", "bench.unstored:create_app", "/webhooks/whatsapp/{account}", "/healthz"),
    Variant("celery", "bench.celery_peer:create_app", "/webhook", "/openapi.json"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one variant."""

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float
    app_us: float
    postgres_us: float
    redis_us: float

    @property
    def cpu_us(self) -> float:
        """Processor time per event, of everything but the load client."""
        return self.app_us + self.postgres_us + self.redis_us


@dataclass(frozen=True, slots=True)
class Watched:
    """Whose processor time counts."""

    postgres_pid: int
    redis_pid: int


def measure(scene: Scene, variant: Variant, server: ApiServer, watched: Watched, *, mark: str, asked: Any) -> Measured:
    """Load one server for one round."""
    pids = (server.pid, watched.postgres_pid, watched.redis_pid)
    before = [cpu_s([pid]) for pid in pids]
    result = run_load(scene, variant, server, mark=mark, seconds=asked.seconds, connections=asked.connections)
    used = [cpu_s([pid]) - start for pid, start in zip(pids, before, strict=True)]
    answers, latencies = result["answers"], result["latencies_ms"]
    assert result["statuses"] == {"200": answers}, f"{variant.name}: not all were accepted: {result['statuses']}"
    app_us, postgres_us, redis_us = (seconds / answers * 1e6 for seconds in used)
    return Measured(
        answers=answers,
        rate=answers / result["seconds"],
        p50_ms=latencies[len(latencies) // 2],
        p99_ms=latencies[len(latencies) * 99 // 100],
        app_us=app_us,
        postgres_us=postgres_us,
        redis_us=redis_us,
    )


def run_load(
    scene: Scene, variant: Variant, server: ApiServer, *, mark: str, seconds: float, connections: int
) -> dict[str, Any]:
    """Run the load client; gives what it printed."""
    command = [
        sys.executable, "-m", "bench.load_client", "--port", str(server.port), "--secret", SIGNING_SECRET,
        "--path", variant.path.format(account=scene.account_id), "--mark", mark,
        "--seconds", str(seconds), "--connections", str(connections),
    ]  # fmt: skip
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def rounds(scene: Scene, asked: Any) -> dict[str, list[Measured]]:
    """Every variant in every round."""
    found: dict[str, list[Measured]] = {variant.name: [] for variant in VARIANTS}
    watched = Watched(find_below(scene.embedded_pid, "postgres"), find_below(scene.embedded_pid, "redis-server"))
    for number in range(asked.rounds + 1):
        for variant in VARIANTS:
            # Only the server that is measured runs: an idle one still wakes, polls and holds memory.
            with api_server(scene, variant.factory, workers=asked.workers, ready_path=variant.ready_path) as server:
                mark = f"{variant.name}{number}w"
                run_load(scene, variant, server, mark=mark, seconds=WARM_UP_S, connections=asked.connections)
                if number == 0:
                    continue
                mark = f"{variant.name}{number}m"
                found[variant.name].append(measure(scene, variant, server, watched, mark=mark, asked=asked))
            redis.Redis.from_url(scene.redis_url).delete(PEER_QUEUE)
    return found


def stored_rows(scene: Scene) -> int:
    """How many webhooks lie in the inbox."""
    with psycopg.connect(scene.admin_url) as connection:
        row = connection.execute("SELECT count(*) FROM core.inbox").fetchone()
    assert row is not None
    return row[0]


@contextmanager
def ring_taker(scene: Scene) -> Generator[None, None, None]:
    """Takes each ring out of its queue, as a worker would: a ring that still waits would save the next one."""
    client = redis.Redis.from_url(scene.redis_url)
    stopped = threading.Event()

    def take() -> None:
        while not stopped.is_set():
            try:
                client.blpop(["interactive"], timeout=1)
            except RedisError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield
    stopped.set()
    thread.join()


def median(measured: Sequence[Measured]) -> Measured:
    """The median of each figure."""
    columns: Iterator[tuple[float, ...]] = zip(
        *((m.answers, m.rate, m.p50_ms, m.p99_ms, m.app_us, m.postgres_us, m.redis_us) for m in measured), strict=True
    )
    answers, *figures = (statistics.median(column) for column in columns)
    return Measured(int(answers), *figures)


def report(found: Mapping[str, Sequence[Measured]], *, stored: int, asked: Any) -> dict[str, Any]:
    """The figures, their ratios and the aims."""
    medians = {name: median(measured) for name, measured in found.items()}
    best = {name: min(measured, key=lambda one: one.cpu_us) for name, measured in found.items()}
    durable, unstored, celery = best["durable"], best["unstored"], best["celery"]
    times_unstored = durable.cpu_us / unstored.cpu_us
    times_celery_rate = durable.rate / celery.rate
    return {
        "bench": "ingest",
        "connections": asked.connections,
        "workers": asked.workers,
        "rounds": asked.rounds,
        "least_disturbed": {name: _plain(figures) for name, figures in best.items()},
        "medians": {name: _plain(figures) for name, figures in medians.items()},
        "every_round": {name: [_plain(one) for one in measured] for name, measured in found.items()},
        "acknowledged_and_counted": sum(one.answers for one in found["durable"]),
        "stored_with_warm_up": stored,
        "cpu_times_unstored": round(times_unstored, 2),
        "rate_times_celery": round(times_celery_rate, 2),
        "aims": {
            f"cpu_us <= {CPU_US_MAX}": durable.cpu_us <= CPU_US_MAX,
            f"cpu <= {TIMES_UNSTORED_MAX} x unstored": times_unstored <= TIMES_UNSTORED_MAX,
            f"rate >= {TIMES_CELERY_RATE_MIN} x celery": times_celery_rate >= TIMES_CELERY_RATE_MIN,
        },
    }


def _plain(one: Measured) -> dict[str, float]:
    figures = {
        "rate_per_s": one.rate, "p50_ms": one.p50_ms, "p99_ms": one.p99_ms, "cpu_us": one.cpu_us,
        "app_us": one.app_us, "postgres_us": one.postgres_us, "redis_us": one.redis_us,
    }  # fmt: skip
    return {name: round(value, 2) for name, value in figures.items()}


def print_table(result: Mapping[str, Any]) -> None:
    """The figures, for people."""
    names = ("rate_per_s", "p50_ms", "p99_ms", "cpu_us", "app_us", "postgres_us", "redis_us")
    for kind in ("medians", "least_disturbed"):
        print(f"{kind.replace('_', ' '):<16}" + "".join(f"{name:>13}" for name in names))
        for variant, figures in result[kind].items():
            print(f"{variant:<16}" + "".join(f"{figures[name]:>13,.1f}" for name in names))
    print(f"Least disturbed, durable is {result['cpu_times_unstored']} x the processor time of unstored,")
    print(f"and {result['rate_times_celery']} x the rate of celery.")
    for aim, met in result["aims"].items():
        print(f"{'met   ' if met else 'MISSED'}  {aim}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.ingest", description="Durable acknowledgements")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with bench_scene() as scene, ring_taker(scene):
        found = rounds(scene, asked)
        stored = stored_rows(scene)
    result = report(found, stored=stored, asked=asked)
    lost = result["acknowledged_and_counted"] - stored
    assert lost <= 0, f"{lost} acknowledged webhooks are not in the inbox"
    print_table(result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
