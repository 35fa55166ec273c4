"""The supervisor: keeps a declared set of processes running, and leaves none behind.

In come `Process`es; out go their pids, whenever they change. A process that ends is started again once its orphans
are gone: at once the first time, then after growing delays. It never touches a process that it did not start or
adopt.
"""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from core.errors import Broken, ChowkError
from sandbox.process import Child, Process, describe_exit, spawn
from sandbox.process_log import ProcessLog
from sandbox.process_table import Entry, read_table, tree_of
from sandbox.reaper import become_subreaper, end_adopted, kill_tree
from sandbox.starting import became_ready, check_order, retry_delay_s, stayed_healthy

FAILED_STARTS_MAX = 5
#: What a job does once it would do again: trying it over and over only hides its message.
JOB_FAILED_STARTS_MAX = 1
#: How often the trees of processes are looked at: for orphans and for new children.
WATCH_S = 1.0
FOLLOW_S = 0.2
#: What killed processes get before they are left to the kernel.
KILLED_WAIT_S = 15.0

#: A second request to stop that comes this soon is the same one, sent along by a shell, make or uv.
SAME_REQUEST_S = 0.5

#: What runs now: for each name its process, followed by those it started where they are published.
Trees = Mapping[str, list[Entry]]


class ProcessGaveUp(ChowkError):
    """A process did not become ready several times in a row, or a job failed. The message ends with its last lines."""


class _Slot:
    """A declared process and its present state."""

    def __init__(self, process: Process, logs: Path) -> None:
        self.process = process
        self.log = ProcessLog(logs / f"{process.name}.log")
        self.child: Child | None = None
        self.ready = asyncio.Event()
        self.stopped = asyncio.Event()


class Supervisor:
    """Runs processes until `stop` is called or one of them gives up.

    Args:
        processes: what to run; `depends_on` orders them.
        logs: the folder of their log files.
        on_change: called with what runs, whenever that changes.
        say: told in a sentence what happens.
        verbose: whether `say` also gets every line that the processes write.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        logs: Path,
        on_change: Callable[[Trees], None],
        say: Callable[[str], None],
        verbose: bool = False,
    ) -> None:
        check_order(processes)
        self._slots = {process.name: _Slot(process, logs) for process in processes}
        self._on_change = on_change
        self._say = say
        self._verbose = verbose
        self._stop = asyncio.Event()
        self._kill = asyncio.Event()
        self._stop_asked_at = 0.0
        self._published: dict[str, list[Entry]] = {}

    def stop(self) -> None:
        """Stop everything in reverse order and let `run` return; called again, kill what is left at once."""
        now = time.monotonic()
        if not self._stop.is_set():
            self._stop_asked_at = now
            self._stop.set()
        elif now - self._stop_asked_at > SAME_REQUEST_S:
            self._kill.set()

    async def ready(self) -> None:
        """Wait until every process is ready for the first time."""
        for slot in self._slots.values():
            await slot.ready.wait()

    async def run(self) -> None:
        """Run until `stop`; no process of ours is left when it returns.

        Raises:
            ProcessGaveUp: a process failed to start `FAILED_STARTS_MAX` times in a row, or a job failed.
        """
        become_subreaper()
        tasks = [asyncio.create_task(self._keep(slot)) for slot in self._slots.values()]
        tasks.append(asyncio.create_task(self._watch()))
        tasks.append(asyncio.create_task(self._follow()))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await _first_failure_or(stopping, tasks)
        finally:
            self._stop.set()
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop_all()

    async def _keep(self, slot: _Slot) -> None:
        """Start the process, wait for its end, and again; a job's success ends it."""
        failed_starts = 0
        ends = 0
        while True:
            await self._before_start(slot)
            started_at = time.monotonic()
            reason = self._start(slot)
            if slot.child is not None and await became_ready(slot.child):
                slot.ready.set()
                self._publish()
                self._show(slot)
                state = "done" if slot.process.ready is None else "ready"
                self._say(f"{slot.process.name} is {state} after {time.monotonic() - started_at:.1f} s")
                if slot.process.ready is None:
                    return
                failed_starts = 0
                ends = 0 if await stayed_healthy(slot.child) else ends
                slot.ready.clear()
            else:
                failed_starts += 1
            reason = reason or await self._clear(slot)
            if failed_starts == (JOB_FAILED_STARTS_MAX if slot.process.ready is None else FAILED_STARTS_MAX):
                self._show(slot)
                raise ProcessGaveUp(_gave_up(slot, failed_starts, reason, shown=self._shows(slot)))
            delay_s = retry_delay_s(ends)
            ends += 1
            self._say(f"{slot.process.name} {reason}; starting it again" + (f" in {delay_s:g} s" if delay_s else ""))
            await asyncio.sleep(delay_s)

    async def _before_start(self, slot: _Slot) -> None:
        for name in slot.process.depends_on:
            await self._slots[name].ready.wait()
        if slot.process.before_start is not None:
            await slot.process.before_start()

    def _start(self, slot: _Slot) -> str | None:
        """Start it; says why that was not possible."""
        slot.child = None
        try:
            slot.child = spawn(slot.process, slot.log)
        except (OSError, subprocess.SubprocessError) as error:
            return f"could not be started ({error})"
        self._publish()
        return None

    async def _clear(self, slot: _Slot) -> str:
        """End what is left of a child that ended, or that was too slow to start; says how it went."""
        child = slot.child
        if child is None:
            raise Broken(f"{slot.process.name} is cleared before it was started")
        reason = f"was not ready within {slot.process.start_s:g} s"
        if child.runs:
            kill_tree(child.pid)
            await asyncio.wait([child.exited], timeout=KILLED_WAIT_S)
        else:
            reason = describe_exit(child.exited.result())
        await self._end_orphans()
        self._publish()
        return reason

    async def _end_orphans(self) -> None:
        for pid in await end_adopted(self._own_pids):
            self._say(f"process {pid} does not end: it hangs in the kernel")

    def _own_pids(self) -> set[int]:
        return {slot.child.pid for slot in self._slots.values() if slot.child is not None and slot.child.runs}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self._end_orphans()
            self._publish()
            for slot in self._slots.values():
                slot.log.trim()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(FOLLOW_S)
            for slot in self._slots.values():
                self._show(slot)

    def _show(self, slot: _Slot) -> None:
        if self._shows(slot):
            for line in slot.log.new_lines():
                self._say(f"{slot.process.name} | {line}")

    def _shows(self, slot: _Slot) -> bool:
        return self._verbose or slot.process.show_output

    def _publish(self) -> None:
        table = read_table()
        trees = {name: _tree(slot, table) for name, slot in self._slots.items()}
        trees = {name: entries for name, entries in trees.items() if entries}
        if trees != self._published:
            self._published = trees
            try:
                self._on_change(trees)
            except OSError as error:
                self._say(f"the pids could not be written: {error}")

    async def _stop_all(self) -> None:
        await asyncio.gather(*(self._stop_one(slot) for slot in self._slots.values()))
        await self._end_orphans()
        self._publish()

    async def _stop_one(self, slot: _Slot) -> None:
        """Stop one process after all that depend on it."""
        for other in self._slots.values():
            if slot.process.name in (*other.process.depends_on, *other.process.outlived_by):
                await other.stopped.wait()
        child = slot.child
        if child is not None and child.runs:
            child.send(slot.process.stop_signal)
            await self._wait_or_kill(child)
        slot.stopped.set()

    async def _wait_or_kill(self, child: Child) -> None:
        killing = asyncio.create_task(self._kill.wait())
        await asyncio.wait(
            [child.exited, killing], timeout=child.process.stop_grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        killing.cancel()
        if child.runs:
            if not self._kill.is_set():
                self._say(f"{child.process.name} did not stop within {child.process.stop_grace_s:g} s; killing it")
            kill_tree(child.pid)
            await asyncio.wait([child.exited], timeout=KILLED_WAIT_S)


async def _first_failure_or(stopping: asyncio.Task[bool], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Return when stopping; raise what a task raised; a job's task that ends well is no reason to go on."""
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {stopping, *tasks}
    while not stopping.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def _tree(slot: _Slot, table: Mapping[int, Entry]) -> list[Entry]:
    if slot.child is None or not slot.child.runs or slot.child.pid not in table:
        return []
    pids = tree_of(table, slot.child.pid) if slot.process.publish_tree else [slot.child.pid]
    return [table[pid] for pid in pids]


def _gave_up(slot: _Slot, failed_starts: int, reason: str, *, shown: bool) -> str:
    times = f"failed to start {failed_starts} times in a row; the last time it " if failed_starts > 1 else ""
    said = f"{slot.process.name} {times}{reason}"
    if shown:
        return f"{said}; what it wrote is above and in {slot.log.path}"
    lines = "\n".join(f"    {line}" for line in slot.log.last_lines()) or "    (it wrote nothing)"
    return f"{said}. Its last lines:\n{lines}"


def install_stop_signals(supervisor: Supervisor) -> None:
    """Let SIGINT (Ctrl-C), SIGTERM and SIGHUP stop the supervisor; a later second one kills. `nohup` stays in force."""
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, supervisor.stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        loop.add_signal_handler(signal.SIGHUP, supervisor.stop)
