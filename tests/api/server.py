"""A real API server: Granian in a process of its own, as `chowk api` starts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.ports import free_port
from sandbox.process_table import read_table, tree_of

START_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where it answers, and its processes."""

    port: int
    process: subprocess.Popen[bytes]
    home: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def workers(self) -> list[int]:
        """The pids of its worker processes."""
        return [pid for pid in tree_of(read_table(), self.process.pid) if pid != self.process.pid]

    def until_ready(self) -> None:
        """Return once it answers that it is ready."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"not ready within {START_S} s: {self.log()}")

    def log(self) -> str:
        return (self.home / "api.log").read_text()


@contextmanager
def serving(home: Path, *, workers: int = 1, **environment: str) -> Generator[Server]:
    """Start a server with the environment of the tests; nothing of it is left afterwards."""
    port = free_port(None)
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "api", "--port", str(port), "--workers", str(workers)],
            env=os.environ | {"CHOWK_HOME": str(home)} | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(port, process, home)
    try:
        server.until_ready()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        left = tree_of(read_table(), process.pid)
    assert left == []
