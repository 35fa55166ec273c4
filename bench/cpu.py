"""How much processor time processes have used, read from /proc: a process, all it started, and those that ended."""

import os
from collections.abc import Iterable
from pathlib import Path

from sandbox.process_table import program_name, read_table, tree_of

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: Iterable[int]) -> float:
    """Seconds of processor time, in user and kernel mode, of these processes and everything below them."""
    table = read_table()
    return sum(_cpu_of(pid) for root in pids for pid in tree_of(table, root))


def find_below(root: int, program: str) -> int:
    """The first process below `root`, from the top, that runs this program."""
    for pid in tree_of(read_table(), root):
        if program_name(pid) == program:
            return pid
    raise AssertionError(f"no {program!r} runs below process {root}")


def _cpu_of(pid: int) -> float:
    """Of the process itself and of its children that have ended."""
    try:
        line = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    # After the bracketed name, fields 12 to 15 are utime, stime, cutime and cstime (`man 5 proc`: 14 to 17).
    fields = line[line.rindex(")") + 2 :].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S
