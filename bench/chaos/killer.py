"""Kills what the schedule says, as the kernel and an operator's mistake do: SIGKILL, SIGSTOP, SIGTERM to a backend.

It signals only processes of the stack it was given: each is looked at right before, because pids are used again.
"""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from bench.chaos.schedule import Kill
from bench.running_stack import RunningStack
from sandbox.process import SUPERVISED_BY
from sandbox.process_table import environment_value, program_name, read_table, tree_of

CONNECT_S = 2
WORKERS = ("worker", "worker_2")
BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name LIKE 'chowk %' ORDER BY pid
"""


@dataclass(frozen=True, slots=True)
class Killed:
    """What was done, and when: monotonic seconds."""

    kill: Kill
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class Killer:
    """Kills processes of one stack."""

    stack: RunningStack
    #: Straight to the server, past every proxy.
    database_url: str

    async def kill(self, kill: Kill) -> Killed | None:
        """Do it; None where there was nothing to kill at that moment."""
        candidates = await self._candidates(kill)
        if not candidates:
            return None
        pid = candidates[kill.pick % len(candidates)]
        at = time.monotonic()
        try:
            os.kill(pid, _SIGNALS.get(kill.target, signal.SIGKILL))
        except ProcessLookupError:
            return None
        if kill.target == "worker_paused":
            await asyncio.sleep(kill.for_ms / 1000)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        return Killed(kill, pid, at)

    async def _candidates(self, kill: Kill) -> list[int]:
        match kill.target:
            case "api" | "worker" | "worker_2" | "beat" | "redis" | "postgres":
                return self._tree(kill.target)[:1]
            case "api_child":
                return self._tree("api")[1:]
            case "worker_child" | "worker_paused":
                return [pid for worker in WORKERS for pid in self._tree(worker)[1:]]
            case "backend" | "session":
                return [pid for pid in await self._backends() if program_name(pid) == "postgres"]

    def _tree(self, part: str) -> list[int]:
        """The processes of a part as they are now, its first one first; nothing that is not ours."""
        pids = self.stack.pids(part)[:1]
        return [pid for pid in tree_of(read_table(), pids[0]) if self._is_ours(pid)] if pids else []

    def _is_ours(self, pid: int) -> bool:
        # Postgres writes over its environment, and shows the processes of its own that fork from it.
        return program_name(pid) == "postgres" or environment_value(pid, SUPERVISED_BY) == str(
            self.stack.home.resolve()
        )

    async def _backends(self) -> Sequence[int]:
        try:
            connection = await psycopg.AsyncConnection.connect(
                self.database_url, autocommit=True, connect_timeout=CONNECT_S
            )
        except psycopg.OperationalError:
            return []
        async with connection:
            rows = await (await connection.execute(BACKENDS)).fetchall()
        return [int(row[0]) for row in rows]


_SIGNALS = {"worker_paused": signal.SIGSTOP, "session": signal.SIGTERM}
