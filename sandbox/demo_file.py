"""`<home>/demo.json`: how to reach what `chowk dev` runs, for people, scripts and tests.

It appears when everything is ready and is replaced in one step whenever a process starts or ends. It holds
credentials of the demo, so only its owner may read it. After a stop its `pids` are empty.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.json_file import write_json
from sandbox.supervisor import Trees


class DemoFile:
    """The file, kept up to date. Nothing is written before `publish`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._facts: Mapping[str, Any] | None = None  # Any: JSON of the demo seed, passed on as it is
        self._trees: Trees = {}

    def publish(self, facts: Mapping[str, Any]) -> None:  # Any: as above
        """Write the file now, and from now on whenever `update` is called."""
        self._facts = dict(facts)
        self._write()

    def update(self, trees: Trees) -> None:
        """Take over what runs now."""
        self._trees = trees
        self._write()

    def _write(self) -> None:
        if self._facts is not None:
            pids = {name: [entry.pid for entry in tree] for name, tree in self._trees.items()}
            write_json(self._path, {**self._facts, "pids": pids})
