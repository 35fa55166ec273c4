"""A whole Chowk in a home of its own: started as a person starts it, stopped with Ctrl-C."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
START_S = 180.0
STOP_S = 60.0
LOOK_AGAIN_S = 0.05
#: What runs and where it prints to, within the home.
DEV = ("cli.main", "dev")
PRINTED = "stack.log"
READY = "chowk ready:"
#: Settings of the surroundings that must not leak into a stack that is to be measured.
FOREIGN = ("DATABASE_URL", "CHOWK_ADMIN_DATABASE_URL", "REDIS_URL", "CHOWK_SECRET_KEY", "CHOWK_META_GRAPH_URL")


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that answers."""

    home: Path
    supervisor: subprocess.Popen[bytes]

    def facts(self) -> dict[str, Any]:  # Any: JSON
        """What `demo.json` says now; its `pids` change when a process dies."""
        return json.loads((self.home / "demo.json").read_text())

    def pids(self, name: str) -> list[int]:
        """The processes of one part, the first one first."""
        return list(self.facts()["pids"].get(name, []))


@contextmanager
def running_stack(environment: Mapping[str, str] | None = None) -> Generator[RunningStack, None, None]:
    """Start `chowk dev` in an empty home and wait for its ready line; afterwards stop it and delete the home."""
    home = make_home()
    supervisor = start(home, environment or {})
    try:
        yield RunningStack(home, supervisor)
    finally:
        stop(supervisor)
        shutil.rmtree(home, ignore_errors=True)


def make_home(prefix: str = "chowk-stack-") -> Path:
    """An empty folder for a stack."""
    home = Path(tempfile.mkdtemp(prefix=prefix))
    home.chmod(0o711)  # where this runs as root the database does not, and must pass through
    return home


def start(home: Path, environment: Mapping[str, str], *, command: Sequence[str] = DEV) -> subprocess.Popen[bytes]:
    """Start `chowk dev`, or another module that speaks like it, on this home; returns once it is ready.

    Raises:
        RuntimeError: it was not ready in time, or ended; with what it printed.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    printed = home / PRINTED
    with printed.open("wb") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", *command, "--home", str(home), "--port", str(free_port())],
            cwd=REPOSITORY,
            env=inherited | dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while supervisor.poll() is None and time.monotonic() < deadline:
        if READY in printed.read_text(errors="replace"):
            return supervisor
        time.sleep(LOOK_AGAIN_S)
    stop(supervisor)
    raise RuntimeError(f"{' '.join(command)} did not become ready:\n{printed.read_text(errors='replace')}")


def stop(supervisor: subprocess.Popen[bytes]) -> int:
    """Press Ctrl-C and wait; gives the exit status."""
    if supervisor.poll() is None:
        supervisor.send_signal(signal.SIGINT)
    try:
        supervisor.wait(STOP_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()
    return supervisor.returncode


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
