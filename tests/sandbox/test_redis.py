"""The embedded Redis: asks for its password, keeps nothing, refuses rather than forgets when full."""

import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisUnreachable

from sandbox.home import open_home
from sandbox.redis import answers_ping, embedded_redis, redis_process
from tests.embedded import Embedded, make_home, start_embedded, stop_embedded

WAIT_S = 30.0


@pytest.fixture
async def client(embedded: Embedded) -> AsyncIterator[Redis]:
    async with Redis.from_url(embedded.redis_url) as redis:
        yield redis


@pytest.fixture
def own() -> Iterator[Embedded]:
    home = make_home()
    servers = start_embedded(home)
    yield servers
    stop_embedded(servers.runner)
    shutil.rmtree(home)


def proc_file(process_id: int, name: str) -> bytes:
    return Path(f"/proc/{process_id}/{name}").read_bytes()


async def test_it_keeps_nothing_on_disk_and_never_drops_what_it_holds(client: Redis) -> None:
    expected = {"save": "", "appendonly": "no", "maxmemory": str(256 * 1024 * 1024), "maxmemory-policy": "noeviction"}
    assert {name: (await client.config_get(name))[name] for name in expected} == expected


async def test_it_refuses_whoever_has_no_password(embedded: Embedded) -> None:
    async with Redis(host="127.0.0.1", port=int(embedded.redis_url.rpartition(":")[2].split("/")[0])) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_the_password_shows_in_no_list_of_processes(client: Redis, embedded: Embedded) -> None:
    password = embedded.redis_url.split(":")[2].split("@")[0]
    process_id = (await client.info("server"))["process_id"]
    assert password.encode() not in proc_file(process_id, "cmdline")
    assert password.encode() not in proc_file(process_id, "environ")


async def test_a_killed_redis_is_started_again_on_the_same_port(own: Embedded) -> None:
    async with Redis.from_url(own.redis_url) as redis:
        killed = (await redis.info("server"))["process_id"]
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                if (await redis.info("server"))["process_id"] != killed:
                    break
            except RedisUnreachable:
                assert time.monotonic() < deadline


async def test_a_redis_that_does_not_run_answers_no_ping(tmp_path: Path) -> None:
    assert not await answers_ping(embedded_redis(open_home(tmp_path)))


def test_its_settings_are_not_among_its_arguments(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    server = embedded_redis(home)
    process = redis_process(server, home)
    assert process.argv == (str(server.program), "-")
    assert f"requirepass {server.password}".encode() in process.stdin
