"""The supervisor on real processes: stand-ins that are killed, that fork, that refuse to stop or to start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Broken
from sandbox.ports import free_port
from sandbox.process import Process
from sandbox.process_table import Entry, read_entry
from sandbox.starting import RETRY_DELAY_MAX_S, retry_delay_s
from sandbox.supervisor import Supervisor
from tests.embedded import REPOSITORY, processes_of

WAIT_S = 30.0

T = TypeVar("T")

#: Says that it works, then waits to be ended.
IDLE = """
import os, signal, sys
open(os.environ["HOME_DIR"] + "/" + sys.argv[1], "w").close()
signal.pause()
"""

#: Forks a child that alone holds the port, as a server's worker does; `setsid` as PostgreSQL's backends do.
FORKS_A_LISTENER = """
import os, signal, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
if os.fork() == 0:
    os.setsid()
    listener.listen()
    open(os.environ["HOME_DIR"] + "/" + sys.argv[1], "w").close()
    while True:
        accepted, _ = listener.accept()
        accepted.sendall(str(os.getpid()).encode())
        accepted.close()
listener.close()
signal.pause()
"""

#: Ignores every polite signal, and so does the child that it forks.
STUBBORN = """
import os, signal, sys
asked = lambda *_: open(os.environ["HOME_DIR"] + "/asked", "w").close()
signal.signal(signal.SIGTERM, asked)
signal.signal(signal.SIGINT, asked)
os.fork()
open(os.environ["HOME_DIR"] + "/" + sys.argv[1], "w").close()
while True:
    signal.pause()
"""

#: Writes its name to the list of those that ended when it is asked to stop.
TELLS_ITS_END = """
import os, signal, sys
def end(*_):
    with open(os.environ["HOME_DIR"] + "/ended", "a") as file:
        file.write(sys.argv[1] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open(os.environ["HOME_DIR"] + "/" + sys.argv[1], "w").close()
while True:
    signal.pause()
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-c", code, *arguments]


def idle(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "argv": python(IDLE, name), "ready": name, **fields}


class Stack:
    """A running supervisor of a test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *plan: dict[str, Any]) -> subprocess.Popen[bytes]:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox.supervised", str(self.home)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        assert supervisor.stdin is not None
        with supervisor.stdin as stdin:
            stdin.write(json.dumps(plan).encode())
        self._running.append(supervisor)
        return supervisor

    def pids(self, name: str) -> list[int]:
        """What the supervisor says runs under this name, once it says so at all."""
        return self.until(lambda: self._published().get(name))

    def said(self) -> str:
        path = self.home / "said"
        return path.read_text() if path.exists() else ""

    def until(self, condition: Callable[[], T | None]) -> T:
        """Wait until the condition gives something true; gives that."""
        deadline = time.monotonic() + WAIT_S
        while not (value := condition()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)
        return value

    def until_file(self, name: str) -> None:
        self.until((self.home / name).exists)

    def close(self) -> None:
        for supervisor in self._running:
            supervisor.kill()
            supervisor.wait(WAIT_S)
        for pid in processes_of(self.home):
            os.kill(pid, signal.SIGKILL)

    def _published(self) -> dict[str, list[int]]:
        path = self.home / "pids.json"
        return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    running = Stack(tmp_path)
    yield running
    running.close()


def runs(pid: int) -> bool:
    entry = read_entry(pid)
    return entry is not None and entry.runs


def who_listens(port: int) -> int | None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return int(connection.recv(100) or 0) or None
    except OSError:
        return None


def test_a_killed_process_is_started_again(stack: Stack) -> None:
    stack.start(idle("api"))
    stack.until_file("api")
    first = stack.pids("api")
    os.kill(first[0], signal.SIGKILL)
    stack.until(lambda: stack.pids("api") != first)
    stack.until_file("api")
    assert "api was ended by SIGKILL; starting it again" in stack.said()


def test_an_orphan_that_holds_the_port_is_ended_before_the_restart(stack: Stack) -> None:
    port = free_port(None)
    stack.start({"name": "api", "argv": python(FORKS_A_LISTENER, "api", str(port)), "ready": "api"})
    orphan = stack.until(lambda: who_listens(port))
    entry = read_entry(orphan)
    assert entry is not None
    os.kill(entry.parent_pid, signal.SIGKILL)
    successor = stack.until(lambda: found if (found := who_listens(port)) != orphan else None)
    assert not runs(orphan)
    assert runs(successor)
    assert "Address already in use" not in (stack.home / "logs/api.log").read_text()


def test_the_whole_tree_is_published_with_the_parent_first(stack: Stack) -> None:
    port = free_port(None)
    stack.start({"name": "api", "argv": python(FORKS_A_LISTENER, "api", str(port)), "ready": "api"})
    worker = stack.until(lambda: who_listens(port))
    published = stack.until(lambda: found if len(found := stack.pids("api")) == 2 else None)
    assert published[1] == worker
    entry = read_entry(published[1])
    assert entry is not None
    assert entry.parent_pid == published[0]


def test_a_process_that_works_or_sleeps_is_still_the_same_process() -> None:
    entry = Entry(pid=7, parent_pid=1, start_ticks=100, state="S")
    assert replace(entry, state="R") == entry
    assert replace(entry, start_ticks=101) != entry


def test_five_failed_starts_in_a_row_stop_everything_with_the_last_lines(stack: Stack) -> None:
    supervisor = stack.start(
        idle("redis"),
        {"name": "api", "argv": python("raise SystemExit('DATABASE_URL is missing')"), "ready": "api"},
    )
    assert supervisor.wait(WAIT_S) == 1
    assert stack.said().count("api ended with status 1; starting it again") == 4
    assert stack.said().endswith("Its last lines:\n    DATABASE_URL is missing\n")
    assert processes_of(stack.home) == []


def test_a_job_that_fails_stops_everything_at_once(stack: Stack) -> None:
    supervisor = stack.start(
        {"name": "migrate", "argv": python("raise SystemExit('pgvector is missing')"), "ready": None},
        idle("api", depends_on=["migrate"]),
    )
    assert supervisor.wait(WAIT_S) == 1
    assert "migrate ended with status 1. Its last lines:\n    pgvector is missing\n" in stack.said()
    assert not (stack.home / "api").exists()


def test_a_program_that_does_not_exist_is_named(stack: Stack) -> None:
    supervisor = stack.start({"name": "api", "argv": ["/nonexistent/server"], "ready": "api"})
    assert supervisor.wait(WAIT_S) == 1
    assert "could not be started ([Errno 2] No such file or directory: '/nonexistent/server')" in stack.said()


def test_a_start_that_takes_too_long_is_a_failed_start(stack: Stack) -> None:
    never_ready = {"name": "api", "argv": python("import time; time.sleep(600)"), "ready": "api", "start_s": 0.2}
    supervisor = stack.start(never_ready)
    assert supervisor.wait(WAIT_S) == 1
    assert "api was not ready within 0.2 s; starting it again" in stack.said()
    assert processes_of(stack.home) == []


def test_an_interrupt_leaves_nothing_behind(stack: Stack) -> None:
    port = free_port(None)
    supervisor = stack.start(
        idle("redis"),
        {"name": "api", "argv": python(FORKS_A_LISTENER, "api", str(port)), "ready": "api"},
        {"name": "worker", "argv": python(STUBBORN, "worker"), "ready": "worker", "stop_grace_s": 0.2},
    )
    for name in ("redis", "api", "worker"):
        stack.until_file(name)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(WAIT_S) == 0
    assert processes_of(stack.home) == []
    assert json.loads((stack.home / "pids.json").read_text()) == {}
    assert "worker did not stop within 0.2 s; killing it" in stack.said()


def test_a_second_interrupt_kills_at_once(stack: Stack) -> None:
    worker = {"name": "worker", "argv": python(STUBBORN, "worker"), "ready": "worker", "stop_grace_s": 600.0}
    supervisor = stack.start(worker)
    stack.until_file("worker")
    supervisor.send_signal(signal.SIGINT)
    stack.until_file("asked")

    def interrupt_again() -> bool:
        supervisor.send_signal(signal.SIGINT)
        return processes_of(stack.home) == []

    stack.until(interrupt_again)
    supervisor.wait(WAIT_S)


def test_processes_stop_in_the_reverse_order_of_their_start(stack: Stack) -> None:
    def telling(name: str, **fields: Any) -> dict[str, Any]:
        return {"name": name, "argv": python(TELLS_ITS_END, name), "ready": name, **fields}

    supervisor = stack.start(
        telling("worker", depends_on=["postgres"], outlived_by=["emulator"]),
        telling("postgres"),
        telling("emulator", depends_on=["postgres"]),
    )
    for name in ("worker", "emulator"):
        stack.until_file(name)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(WAIT_S) == 0
    assert (stack.home / "ended").read_text().split() == ["worker", "emulator", "postgres"]


def test_a_process_starts_after_the_job_it_depends_on_has_ended(stack: Stack) -> None:
    migrates = "import os; open(os.environ['HOME_DIR'] + '/migrated', 'w').close()"
    needs_it = "import os; assert os.path.exists(os.environ['HOME_DIR'] + '/migrated')" + IDLE
    supervisor = stack.start(
        {"name": "api", "argv": python(needs_it, "api"), "ready": "api", "depends_on": ["migrate"]},
        {"name": "migrate", "argv": python(migrates), "ready": None},
    )
    stack.until_file("api")
    assert supervisor.poll() is None
    assert (stack.home / "logs/api.log").read_text() == ""


def test_children_end_when_the_supervisor_is_killed(stack: Stack) -> None:
    supervisor = stack.start(idle("api"), idle("worker", depends_on=["api"]))
    stack.until_file("worker")
    supervisor.kill()
    stack.until(lambda: processes_of(stack.home) == [])


def test_the_next_start_ends_what_outlived_a_killed_supervisor(stack: Stack) -> None:
    stubborn = {"name": "worker", "argv": python(STUBBORN, "worker"), "ready": "worker"}
    supervisor = stack.start(stubborn)
    stack.until_file("worker")
    outlived = stack.until(lambda: found if len(found := processes_of(stack.home)) == 2 else None)
    supervisor.kill()
    supervisor.wait(WAIT_S)
    stack.start(idle("api"))
    stack.until_file("api")
    assert not any(runs(pid) for pid in outlived)
    assert "ended 2 leftovers" in stack.said()


def test_a_pid_that_somebody_else_has_by_now_is_left_alone(stack: Stack) -> None:
    stranger = subprocess.Popen(python("import signal; signal.pause()"))
    try:
        (stack.home / "run").mkdir()
        (stack.home / "home.json").write_text("{}")
        kernel_run = "another boot"
        (stack.home / "run/processes.json").write_text(
            json.dumps({"kernel_run": kernel_run, "processes": [[stranger.pid, 1]]})
        )
        stack.start(idle("api"))
        stack.until_file("api")
        assert stranger.poll() is None
        assert "ended 0 leftovers" in stack.said()
    finally:
        stranger.kill()
        stranger.wait(WAIT_S)


def test_a_second_supervisor_on_the_same_home_is_refused(stack: Stack) -> None:
    first = stack.start(idle("api"))
    stack.until_file("api")
    second = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.supervised", str(stack.home)],
        cwd=REPOSITORY,
        input=b"[]",
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert second.returncode != 0
    assert f"process {first.pid} already runs on the home {stack.home}".encode() in second.stderr
    assert first.poll() is None


@pytest.mark.parametrize("turns", range(6))
def test_a_stop_while_a_process_answers_that_it_is_ready_is_heard(stack: Stack, turns: int) -> None:
    supervisor = stack.start(idle("api", stopped_in_check=turns))
    assert supervisor.wait(WAIT_S) == 0
    assert processes_of(stack.home) == []


def test_the_first_retry_is_at_once_and_the_delays_double_up_to_ten_seconds() -> None:
    assert [retry_delay_s(ends) for ends in range(8)] == [0, 0.5, 1, 2, 4, 8, 10, 10]


@given(st.integers(min_value=0, max_value=10**9))
def test_a_delay_never_shrinks_and_is_never_over_the_longest(ends: int) -> None:
    assert retry_delay_s(ends) <= retry_delay_s(ends + 1) <= RETRY_DELAY_MAX_S


@pytest.mark.parametrize(
    ("depends_on", "complaint"),
    [({"api": ("postgres",)}, "depend on"), ({"api": ("worker",), "worker": ("api",)}, "wait for each other")],
)
async def test_an_order_that_cannot_be_kept_is_refused(
    tmp_path: Path, depends_on: dict[str, tuple[str, ...]], complaint: str
) -> None:
    plan = [Process(name=name, argv=(), env={}, ready=None, depends_on=names) for name, names in depends_on.items()]
    with pytest.raises(Broken, match=complaint):
        Supervisor(plan, logs=tmp_path, on_change=lambda _: None, say=lambda _: None)
