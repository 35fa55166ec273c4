"""Runs a supervisor over processes that a test declares, as a process of its own.

    python -m tests.sandbox.supervised HOME < plan.json

The plan is a list of objects with fields of `sandbox.process.Process`, where `ready` is a file that the process makes
when it works, or null for a job. `stopped_in_check` counts the turns of the event loop between the request to stop
and the answer of the readiness check in which it is made. What runs is written to HOME/pids.json; every sentence goes
to HOME/said.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import ChowkError
from sandbox.home import Home, locked, open_home
from sandbox.json_file import write_json
from sandbox.leftovers import end_leftovers, remember
from sandbox.process import SUPERVISED_BY, Process, Readiness
from sandbox.readiness import has_made, without
from sandbox.supervisor import Supervisor, Trees, install_stop_signals


async def main(home_path: Path, plan: list[dict[str, Any]]) -> int:
    home = open_home(home_path)

    def say(line: str) -> None:
        with (home.path / "said").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def on_change(trees: Trees) -> None:
        remember(home, trees)
        write_json(home.path / "pids.json", {name: [entry.pid for entry in tree] for name, tree in trees.items()})

    def stop() -> None:
        supervisor.stop()

    with locked(home):
        say(f"ended {await end_leftovers(home)} leftovers")
        processes = [_process(home, fields, stop=stop) for fields in plan]
        supervisor = Supervisor(processes, logs=home.logs, on_change=on_change, say=say)
        install_stop_signals(supervisor)
        try:
            await supervisor.run()
        except ChowkError as error:
            say(error.message)
            return 1
    return 0


def _process(home: Home, fields: dict[str, Any], *, stop: Callable[[], None]) -> Process:
    ready_file = None if fields["ready"] is None else home.path / fields["ready"]
    ready = None if ready_file is None else has_made(ready_file)
    if "stopped_in_check" in fields:
        ready = _stopping(stop, turns=fields["stopped_in_check"])
    return Process(
        name=fields["name"],
        argv=tuple(fields["argv"]),
        env={SUPERVISED_BY: str(home.path), "HOME_DIR": str(home.path)},
        ready=ready,
        before_start=None if ready_file is None else without(ready_file),
        depends_on=tuple(fields.get("depends_on", ())),
        outlived_by=tuple(fields.get("outlived_by", ())),
        stop_grace_s=fields.get("stop_grace_s", 10.0),
        start_s=fields.get("start_s", 30.0),
    )


def _stopping(stop: Callable[[], None], *, turns: int) -> Readiness:
    async def ready() -> bool:
        stop()
        for _ in range(turns):
            await asyncio.sleep(0)
        return True

    return ready


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), json.load(sys.stdin))))
