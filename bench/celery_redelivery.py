"""The peer of a recovery: Celery's own redelivery of a task whose worker, parent and child, is killed in the middle.

Late acknowledgement, rejection on the loss of a worker, and a visibility timeout of ten seconds, which is short: any
task that takes longer would run twice. How soon a timeout is noticed is a matter of how often kombu looks; it is
measured as kombu comes, and with the look as frequent as it can be set.

    REDIS_URL=redis://… python -m bench.celery_redelivery [--eager]
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from typing import Any

from celery import Celery, signals
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from bench.running_stack import REPOSITORY
from core.settings import RedisSettings, load
from sandbox.process_table import read_table, tree_of
from sandbox.reaper import kill_tree

VISIBILITY_TIMEOUT_S = 10
#: As often as kombu can look: once a second, and not at every tenth time only.
EAGER = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
TASK = "peer.step"
#: Lists of the pids that began the task and that were ready for it.
BEGUN, READY = "peer:begun", "peer:ready"
START_S = 60.0
LOOK_EVERY_S = 0.05
FOR_EVER_S = 24 * 3600


def build_app(redis_url: str, *, eager: bool) -> Celery:
    """The application; its one task never ends the first time it is begun."""
    app = Celery("peer", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT_S} | (EAGER if eager else {}),
    )

    def step() -> None:
        if Redis.from_url(redis_url).rpush(BEGUN, os.getpid()) == 1:
            time.sleep(FOR_EVER_S)

    app.task(name=TASK)(step)
    return app


async def redelivery_s(redis_url: str, *, eager: bool, held_s: float, cap_s: float) -> float | None:
    """Seconds from the kill of a task's worker until another worker begins it again; None where `cap_s` is too short.

    The worker is killed `held_s` after it began the task; the other stands by from before that.

    Raises:
        RuntimeError: a worker did not start, or did not take the task.
    """
    redis = AsyncRedis.from_url(redis_url, decode_responses=True)
    workers = [_start_worker(redis_url, eager=eager) for _ in range(2)]
    try:
        await _until_listed(redis, READY, 2, START_S)
        await asyncio.to_thread(build_app(redis_url, eager=eager).send_task, TASK)
        begun_by = (await _until_listed(redis, BEGUN, 1, START_S))[0]
        await asyncio.sleep(held_s)
        table = read_table()
        killed_at = time.monotonic()
        kill_tree(next(worker.pid for worker in workers if int(begun_by) in tree_of(table, worker.pid)))
        try:
            await _until_listed(redis, BEGUN, 2, cap_s)
        except RuntimeError:
            return None
        return time.monotonic() - killed_at
    finally:
        for worker in workers:
            kill_tree(worker.pid)
            worker.wait()
        await redis.aclose()


def _start_worker(redis_url: str, *, eager: bool) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.celery_redelivery", *(["--eager"] if eager else [])],
        cwd=REPOSITORY, env=os.environ | {"REDIS_URL": redis_url},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


async def _until_listed(redis: AsyncRedis, key: str, length: int, patience_s: float) -> list[str]:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        listed = [str(entry) for entry in await redis.lrange(key, 0, -1)]
        if len(listed) >= length:
            return listed
        await asyncio.sleep(LOOK_EVERY_S)
    raise RuntimeError(f"{key} did not reach {length} entries within {patience_s:g} s")


def main() -> None:
    """Be a worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eager", action="store_true")
    redis_url = load(RedisSettings).url.get_secret_value()
    app = build_app(redis_url, eager=parser.parse_args().eager)

    def ready(**_: Any) -> None:  # Any: Celery names what it sends
        Redis.from_url(redis_url).rpush(READY, os.getpid())

    signals.worker_ready.connect(ready, weak=False)
    app.Worker(
        hostname=f"peer-{os.getpid()}", pool="prefork", concurrency=1, without_gossip=True, without_mingle=True,
        without_heartbeat=True, quiet=True,
    ).start()  # fmt: skip


if __name__ == "__main__":
    main()
