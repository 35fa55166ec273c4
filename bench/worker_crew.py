"""The workers of a running stack: the one that its supervisor keeps, and one of a bench's own beside it."""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.running_stack import REPOSITORY, RunningStack
from sandbox.process import SUPERVISED_BY
from sandbox.process_table import read_table, tree_of
from sandbox.reaper import kill_tree
from worker.ready import READY_FILE

START_S = 60.0
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker: its first process, and the file that it touches as long as it works."""

    pid: int
    ready_file: Path


class Crew:
    """The workers of one stack. Call `remove` at the end."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self._supervised = Worker(stack.pids("worker")[0], stack.home / "run" / "worker.ready")
        self._own: subprocess.Popen[bytes] | None = None

    def workers(self) -> list[Worker]:
        """Those that run."""
        own = [Worker(self._own.pid, self._own_ready_file)] if self._own else []
        return [self._supervised, *own]

    async def add(self) -> None:
        """Start a worker of our own with the settings of the other one; returns once it works.

        Raises:
            RuntimeError: it did not start.
        """
        since = time.time()
        self._own = self._start()
        await _until_touched(self._own_ready_file, since)

    def remove(self) -> None:
        """End the worker of our own, if there is one."""
        if self._own is not None:
            kill_tree(self._own.pid)
            self._own.wait()
            self._own = None

    def calling_from(self, port: int) -> tuple[Worker, int]:
        """The worker that has opened a connection from this port, and which of its processes did."""
        table = read_table()
        for worker in self.workers():
            for pid in tree_of(table, worker.pid):
                if any(connection.laddr.port == port for connection in psutil.Process(pid).net_connections("tcp")):
                    return worker, pid
        raise RuntimeError(f"no worker calls from port {port}")

    async def bring_back(self, killed: Worker, *, since: float) -> None:
        """Return once a worker of which a process was killed at this time of the clock works again.

        Raises:
            RuntimeError: it did not start.
        """
        if self._own is not None and self._own.poll() is not None:
            self.remove()
            await self.add()
        else:
            await _until_touched(killed.ready_file, since)
            self._supervised = Worker(self._stack.pids("worker")[0], self._supervised.ready_file)

    def _start(self) -> "subprocess.Popen[bytes]":
        environ = (Path("/proc") / str(self._supervised.pid) / "environ").read_bytes().decode()
        settings = dict(entry.split("=", 1) for entry in environ.split("\0") if entry)
        settings.pop(SUPERVISED_BY, None)
        with (self._stack.home / "logs" / "own-worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "cli.main", "worker"],
                cwd=REPOSITORY, env=settings | {READY_FILE: str(self._own_ready_file)},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def _own_ready_file(self) -> Path:
        return self._stack.home / "run" / "own-worker.ready"


async def _until_touched(file: Path, since: float) -> None:
    deadline = time.monotonic() + START_S
    while not _is_touched(file, since):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker of {file} did not start within {START_S:g} s")
        await asyncio.sleep(LOOK_EVERY_S)


def _is_touched(file: Path, since: float) -> bool:
    return file.exists() and file.stat().st_mtime > since
