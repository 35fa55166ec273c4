import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from celery.beat import ScheduleEntry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisUnreachable

from tests.conftest import Stack
from tests.eventually import eventually
from tests.worker.a_worker import a_free_port, a_redis, nobody_listens
from worker.beat import RINGS_WAITING_MAX, BellScheduler
from worker.celery_app import build_app
from worker.lanes import LANES


def entries(scheduler: BellScheduler) -> list[ScheduleEntry]:
    return list(cast("dict[str, ScheduleEntry]", scheduler.schedule).values())


def ring_every_lane(scheduler: BellScheduler, times: int) -> None:
    for _ in range(times):
        for entry in entries(scheduler):
            scheduler.apply_entry(entry, producer=scheduler.producer)


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    with a_redis(a_free_port()) as url:
        async with Redis.from_url(url) as client:

            async def answers() -> bool:
                try:
                    return bool(await client.ping())
                except RedisUnreachable:
                    return False

            await eventually(answers)
            yield client


def url_of(redis: Redis) -> str:
    return f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"


async def test_every_lane_is_rung_and_no_more_than_a_few_rings_wait_for_a_worker_that_is_away(redis: Redis) -> None:
    scheduler = BellScheduler(build_app(url_of(redis)))
    ring_every_lane(scheduler, RINGS_WAITING_MAX + 5)
    assert [await redis.llen(lane) for lane in LANES] == [RINGS_WAITING_MAX] * len(LANES)


def test_a_broker_that_is_away_does_not_end_the_beat() -> None:
    app = build_app(nobody_listens())
    scheduler = BellScheduler(app)
    producer = app.amqp.Producer(app.connection_for_write(), auto_declare=False)
    for entry in entries(scheduler):
        scheduler.apply_entry(entry, producer=producer)


async def test_beat_says_that_it_ticks_and_stops_when_told(stack: Stack, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready"
    environment = os.environ | {"REDIS_URL": stack.redis_url, "CHOWK_READY_FILE": str(ready_file)}
    beat = await asyncio.create_subprocess_exec(sys.executable, "-m", "cli.main", "beat", env=environment)

    async def ticks() -> bool:
        return ready_file.exists()

    try:
        await eventually(ticks)
        beat.send_signal(signal.SIGTERM)
        assert await beat.wait() == 0
    finally:
        if beat.returncode is None:
            beat.kill()
            await beat.wait()
