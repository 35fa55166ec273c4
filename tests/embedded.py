"""One embedded PostgreSQL and Redis for a whole test session.

`from tests.embedded import embedded` in a conftest makes the fixture known. It gives URLs; the servers run in a
process of their own (`python -m sandbox.embedded`), which stops them when this process ends in whatever way.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.process import SUPERVISED_BY
from sandbox.process_table import environment_value, read_table

REPOSITORY = Path(__file__).parent.parent
START_S = 60.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """Where the servers are. `app_url` works once the migrations have made its role, with the password in it."""

    admin_url: str
    app_url: str
    redis_url: str
    runner: subprocess.Popen[bytes]


def make_home() -> Path:
    """A new folder for a home. Where the tests run as root the servers do not, and must be able to pass through."""
    home = Path(tempfile.mkdtemp(prefix="chowk-tests-"))
    home.chmod(0o711)
    return home


def start_embedded(home: Path, *, fsync: bool = False) -> Embedded:
    """Start both servers on this home; fails with what they wrote if they are not ready within `START_S`."""
    with (home / "runner.log").open("ab") as errors:
        runner = subprocess.Popen(
            [sys.executable, "-m", "sandbox.embedded", "--home", str(home), *([] if fsync else ["--no-fsync"])],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    line = first_line(runner)
    if line is None:
        runner.kill()
        stop_embedded(runner)
        raise AssertionError(f"the embedded servers did not start: {(home / 'runner.log').read_text()}")
    return Embedded(runner=runner, **json.loads(line))


def stop_embedded(runner: subprocess.Popen[bytes]) -> int:
    """Stop the servers; gives the runner's exit status."""
    assert runner.stdin is not None
    assert runner.stdout is not None
    runner.stdin.close()
    status = runner.wait(STOP_S)
    runner.stdout.close()
    return status


def processes_of(home: Path) -> list[int]:
    """The pids that were started by a supervisor of this home and still run."""
    return [
        pid
        for pid, entry in read_table().items()
        if entry.runs and environment_value(pid, SUPERVISED_BY) == str(home.resolve())
    ]


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    """The session's servers, without fsync; nothing of them is left afterwards."""
    home = make_home()
    servers = start_embedded(home)
    try:
        yield servers
    finally:
        status = stop_embedded(servers.runner)
        left = processes_of(home)
        shutil.rmtree(home)
    assert status == 0
    assert left == []


def first_line(runner: subprocess.Popen[bytes]) -> bytes | None:
    """What the process wrote since, up to the end of a line; None if it ended or wrote nothing for `START_S`."""
    assert runner.stdout is not None
    deadline = time.monotonic() + START_S
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([runner.stdout], [], [], max(deadline - time.monotonic(), 0))
        read = os.read(runner.stdout.fileno(), 65536) if readable else b""
        if not read:
            return None
        line += read
    return line
