"""CPU time of whole process trees, from the kernel's own accounting."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
#: Fields of /proc/<pid>/stat after the command's closing bracket: parent, and the CPU of ended children.
_PARENT, _UTIME, _STIME, _CHILD_UTIME, _CHILD_STIME = 1, 11, 12, 13, 14


def tree_cpu_s(roots: Iterable[int]) -> float:
    """Seconds of CPU that these processes and all below them have used, ended children included.

    A clock tick (10 ms) is the resolution, so measure over many operations.
    """
    stats = {int(path.name): _stat(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    total = 0.0
    pending, seen = list(roots), set[int]()
    while pending:
        pid = pending.pop()
        fields = stats.get(pid)
        if fields is None or pid in seen:
            continue
        seen.add(pid)
        ticks = sum(int(fields[index]) for index in (_UTIME, _STIME, _CHILD_UTIME, _CHILD_STIME))
        total += ticks * _TICK_S
        pending.extend(child for child, of in stats.items() if of is not None and int(of[_PARENT]) == pid)
    return total


def _stat(path: Path) -> list[str] | None:
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
