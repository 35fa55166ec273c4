"""Ending processes so that none is left: orphans, leftovers of an earlier start, whole trees.

The supervisor is a child subreaper (`man 2 prctl`): when one of its children dies, what that child had started is
handed to the supervisor instead of to init. Nothing of ours lives on without its parent on purpose, so whatever was
adopted is an orphan and is killed: a worker of a killed server still holds its port, a backend of a killed
postmaster still holds its shared memory.
"""

import asyncio
import contextlib
import ctypes
import functools
import os
import platform
import signal
import time
from collections.abc import Callable, Collection, Iterable

from core.errors import Broken, SettingInvalid
from sandbox.process_table import Entry, children_of, read_table, still_running, tree_of

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

POLL_S = 0.02
#: How long killed processes may take to go; only one that hangs in the kernel takes this long.
KILL_WAIT_S = 10.0


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def require_linux() -> None:
    """The supervisor leans on /proc, pidfds, subreapers and parent-death signals.

    Raises:
        SettingInvalid: this is another system.
    """
    if platform.system() != "Linux":
        raise SettingInvalid(
            f"the development stack needs Linux, this is {platform.system()}; run it in a container, or run"
            " `chowk api`, `chowk worker` and `chowk beat` with DATABASE_URL and REDIS_URL set"
        )


def become_subreaper() -> None:
    """Adopt the orphans of this process's descendants from now on.

    Raises:
        Broken: the kernel refuses.
    """
    if _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise Broken(f"prctl(PR_SET_CHILD_SUBREAPER) failed: {os.strerror(ctypes.get_errno())}; Linux 3.4+ is needed")


def ending_with_parent(signal_number: signal.Signals) -> Callable[[], None]:
    """What a child runs before exec, so that the kernel sends it this signal when its supervisor is killed.

    It is cleared by a change of user, so it must run after one.
    """
    libc, parent_pid = _libc(), os.getpid()

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)  # the supervisor died before the line above

    return before_exec


def send(pid: int, signal_number: signal.Signals) -> None:
    """Signal one process; one that is already gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_number)


def adopted(own: Collection[int]) -> list[int]:
    """The processes whose parent is this one and which this one did not start; `own` are those it did."""
    return [pid for pid in children_of(read_table(), os.getpid()) if pid not in own]


async def end_adopted(own: Callable[[], Collection[int]]) -> list[int]:
    """Kill and reap every orphan that was handed to this process, and the orphans that this makes.

    Returns:
        The pids that did not go within `KILL_WAIT_S`.
    """
    deadline = time.monotonic() + KILL_WAIT_S
    while orphans := adopted(own()):
        for pid in orphans:
            send(pid, signal.SIGKILL)
            _reap(pid)
        if time.monotonic() > deadline:
            return orphans
        await asyncio.sleep(POLL_S)
    return []


def _reap(pid: int) -> None:
    """Take the status of an adopted process if it has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill_tree(pid: int) -> None:
    """Kill a process and all below it. Its parent goes first, so that it starts nothing anew."""
    for member in tree_of(read_table(), pid):
        send(member, signal.SIGKILL)


async def end_strangers(entries: Iterable[Entry], *, grace_s: float) -> list[Entry]:
    """End processes that are not our children: ask, wait `grace_s`, then kill.

    Returns:
        Those that still run after that, because they hang in the kernel or belong to another user.
    """
    left = still_running(entries)
    for signal_number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
        for entry in left:
            with contextlib.suppress(PermissionError):
                send(entry.pid, signal_number)
        deadline = time.monotonic() + wait_s
        # Their end is told to their parent alone, so it can only be looked for.
        while (left := still_running(left)) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
    return left
