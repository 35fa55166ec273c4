"""What Linux says about the processes of this machine, read from /proc."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")

#: States in which a process no longer runs, holds nothing and only waits for its parent.
GONE_STATES = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Entry:
    """One process. `pid` with `start_ticks` (since boot) names it for ever; a pid alone is used again."""

    pid: int
    parent_pid: int
    start_ticks: int
    state: str = field(compare=False)

    @property
    def runs(self) -> bool:
        """Whether it can still do anything."""
        return self.state not in GONE_STATES


def read_entry(pid: int) -> Entry | None:
    """The process with this pid, or None if there is none."""
    try:
        line = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may itself hold brackets and spaces.
    fields = line[line.rindex(")") + 2 :].split()
    return Entry(pid=pid, parent_pid=int(fields[1]), start_ticks=int(fields[19]), state=fields[0])


def read_table() -> dict[int, Entry]:
    """Every process of this pid namespace by pid."""
    with os.scandir(PROC) as names:
        pids = [int(name.name) for name in names if name.name.isdigit()]
    return {entry.pid: entry for entry in map(read_entry, pids) if entry is not None}


def children_of(table: Mapping[int, Entry], pid: int) -> list[int]:
    """The pids whose parent is `pid`, the oldest first."""
    return sorted(entry.pid for entry in table.values() if entry.parent_pid == pid)


def tree_of(table: Mapping[int, Entry], pid: int) -> list[int]:
    """`pid` and everything below it that still runs, parents before their children."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        current = waiting.pop(0)
        entry = table.get(current)
        if entry is not None and entry.runs and current not in found:
            found.append(current)
            waiting.extend(children_of(table, current))
    return found


def still_running(entries: Iterable[Entry]) -> list[Entry]:
    """Those of the processes that have not ended; one that has taken over an old pid does not count."""
    now = [(old, read_entry(old.pid)) for old in entries]
    return [old for old, new in now if new is not None and new.runs and new.start_ticks == old.start_ticks]


def environment_value(pid: int, name: str) -> str | None:
    """The variable as the process was started with it; None if unset, or if the process is not ours to read."""
    try:
        block = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None
    prefix = f"{name}=".encode()
    return next((os.fsdecode(pair[len(prefix) :]) for pair in block.split(b"\0") if pair.startswith(prefix)), None)


def working_directory(pid: int) -> Path | None:
    """Where the process stands; None if it is gone or not ours to look at."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def program_name(pid: int) -> str | None:
    """The file name of the program that the process runs; None if it is gone or not ours to look at."""
    try:
        return (PROC / str(pid) / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return None


def kernel_run() -> str:
    """Names this boot and this pid namespace: pids remembered under another one mean nothing."""
    boot_id = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot_id} {(PROC / 'self/ns/pid').readlink()}"
