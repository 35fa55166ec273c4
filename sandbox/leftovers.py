"""What an earlier supervisor of the same home left running when it was killed, found and ended.

A process is ours if it is one that the earlier supervisor wrote down (pid and start time, of this boot), or if it was
started with `CHOWK_SUPERVISED_BY` naming this home. Nothing is ended on the strength of a pid alone.
"""

from collections.abc import Mapping, Sequence

from core.errors import Broken
from sandbox.home import Home
from sandbox.json_file import read_json, write_json
from sandbox.process import SUPERVISED_BY
from sandbox.process_table import Entry, environment_value, kernel_run, read_table
from sandbox.reaper import end_strangers

#: When their supervisor was killed the kernel asked them to stop; this is how much longer they get.
LEFTOVER_GRACE_S = 3.0


def remember(home: Home, trees: Mapping[str, Sequence[Entry]]) -> None:
    """Write down what runs, for the next start to find."""
    processes = [[entry.pid, entry.start_ticks] for entries in trees.values() for entry in entries]
    write_json(home.run / "processes.json", {"kernel_run": kernel_run(), "processes": processes})


async def end_leftovers(home: Home) -> int:
    """End them; gives their number. The caller holds the home's lock, so none of them has a supervisor.

    Raises:
        Broken: one of them does not end.
    """
    found = _leftovers(home)
    left = await end_strangers(found, grace_s=LEFTOVER_GRACE_S)
    if left:
        pids = ", ".join(str(entry.pid) for entry in left)
        raise Broken(f"processes {pids} of an earlier start on {home.path} do not end; end them first")
    return len(found)


def _leftovers(home: Home) -> list[Entry]:
    remembered = read_json(home.run / "processes.json")
    written_down: set[tuple[int, int]] = set()
    if remembered.get("kernel_run") == kernel_run():
        written_down = {(int(pid), int(ticks)) for pid, ticks in remembered["processes"]}
    return [
        entry
        for pid, entry in read_table().items()
        if entry.runs
        and ((pid, entry.start_ticks) in written_down or environment_value(pid, SUPERVISED_BY) == str(home.path))
    ]
