"""One supervised process: what it is (`Process`), and a running instance of it (`Child`)."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sandbox.process_log import ProcessLog
from sandbox.reaper import ending_with_parent

#: Set for every process that a supervisor starts, to the home it works on; this is how leftovers are known as ours.
SUPERVISED_BY = "CHOWK_SUPERVISED_BY"

#: Answers whether the process does its work now; raises nothing.
Readiness = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """The account that servers run under when the supervisor is root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What to run and how to tell that it works.

    With `ready` None it is a job: it runs to its end, and whatever depends on it starts once it ended with status 0.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Readiness | None
    #: Names of processes that must be ready before this one starts, and that are stopped after it.
    depends_on: tuple[str, ...] = ()
    #: Names of further processes that are stopped only after this one: it uses them to the last.
    outlived_by: tuple[str, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    #: How long it may take to stop before it is killed.
    stop_grace_s: float = 10.0
    #: How long it may take to become ready, or a job to end, before the start counts as failed.
    start_s: float = 90.0
    user: OrdinaryUser | None = None
    #: Given on standard input: settings that must not show in the list of processes.
    stdin: bytes = b""
    #: Whether its descendants are published with it; not worth it where they come and go with each connection.
    publish_tree: bool = True
    #: Whether its lines are always shown, not only when everything is.
    show_output: bool = False
    #: Runs before each start, after the orphans of the last one have ended.
    before_start: Callable[[], Awaitable[None]] | None = None


class Child:
    """A running instance of a `Process`. Made by `spawn`; `exited` gives its return code."""

    def __init__(self, process: Process, popen: subprocess.Popen[bytes], log: ProcessLog) -> None:
        self.process = process
        self.pid = popen.pid
        self.log = log
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return not self.exited.done()

    def send(self, signal_number: signal.Signals) -> None:
        """Signal this process alone, not what it started; nothing happens when it has ended."""
        self._popen.send_signal(signal_number)

    def _ended(self) -> None:
        code = self._popen.poll()
        if code is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self.exited.set_result(code)


def spawn(process: Process, log: ProcessLog) -> Child:
    """Start it in a session of its own, so that a Ctrl-C of the terminal reaches the supervisor alone.

    Must be called on the main thread: the kernel ends the child when the *thread* that started it ends.
    """
    user = process.user
    with _as_file(process.stdin) as stdin, log.open() as output:
        popen = subprocess.Popen(
            process.argv,
            env=dict(process.env),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
            cwd="/" if user is not None else None,
            # Only a call of prctl: no lock is taken between fork and exec. It runs after the change of user.
            preexec_fn=ending_with_parent(process.stop_signal),  # noqa: PLW1509
        )
    return Child(process, popen, log)


async def run_job(process: Process, *, logs: Path) -> tuple[int, list[str]]:
    """Run a process to its end outside the supervisor; one that takes over `start_s` is killed.

    Returns:
        Its return code and the last lines that it wrote.
    """
    log = ProcessLog(logs / f"{process.name}.log")
    child = spawn(process, log)
    try:
        await asyncio.wait([child.exited], timeout=process.start_s)
    finally:
        child.send(signal.SIGKILL)
    return await child.exited, log.last_lines()


def describe_exit(code: int) -> str:
    """Words for a return code: `ended with status 1`, `was ended by SIGKILL`."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _as_file(content: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 closed by the caller's `with`
    file.write(content)
    file.seek(0)
    return file
