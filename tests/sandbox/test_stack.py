"""`chowk dev`: its plan, and the way from an empty home to nothing left behind, with stand-ins for the product."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from core.errors import SettingInvalid
from sandbox.home import open_home
from sandbox.ports import free_port
from sandbox.process_table import read_entry
from sandbox.stack import Plan, development_plan
from tests.embedded import REPOSITORY, first_line, make_home, processes_of

WAIT_S = 60.0
OUTSIDE = {
    "DATABASE_URL": "postgresql://chowk_app:a@db/chowk",
    "CHOWK_ADMIN_DATABASE_URL": "postgresql://admin:b@db/chowk",
    "REDIS_URL": "redis://cache/0",
}


class Development:
    """`chowk dev` on one home, started and stopped by a test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port(None)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sandbox.stand_in_stack", str(self.port), str(self.home), *arguments],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if name not in OUTSIDE},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def lines_until_ready(self, process: subprocess.Popen[bytes]) -> list[str]:
        lines: list[str] = []
        while not lines or not lines[-1].startswith("chowk ready"):
            line = first_line(process)
            assert line is not None, lines
            lines.extend(line.decode().splitlines())
        return lines

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
        return process.returncode

    def facts(self) -> dict[str, Any]:
        return json.loads((self.home / "demo.json").read_text())

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                self.stop(process)
        for pid in processes_of(self.home):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def development() -> Iterator[Development]:
    running = Development(make_home())
    yield running
    running.close()
    shutil.rmtree(running.home)


@pytest.fixture
async def outside_plan(tmp_path: Path) -> Plan:
    return await development_plan(open_home(tmp_path), OUTSIDE, port=8000)


def runs(pid: int) -> bool:
    entry = read_entry(pid)
    return entry is not None and entry.runs


def test_an_empty_home_becomes_a_running_stack_and_nothing_is_left_of_it(development: Development) -> None:
    process = development.start()
    lines = development.lines_until_ready(process)
    assert lines[-1] == f"chowk ready: http://127.0.0.1:{development.port}"
    assert "prepare | seeding 41 articles" in lines
    facts = development.facts()
    assert httpx.get(facts["base_url"], timeout=5).status_code == 200
    assert httpx.get(facts["sandbox_url"], timeout=5).status_code == 200
    assert facts["tenant"] == "t_demo"
    assert facts["pids"].keys() == {"postgres", "redis", "emulator", "api", "worker", "beat"}
    assert all(runs(pid) for pids in facts["pids"].values() for pid in pids)
    assert (development.home / "demo.json").stat().st_mode & 0o777 == 0o600
    assert development.stop(process) == 0
    assert processes_of(development.home) == []
    assert not any(runs(pid) for pids in facts["pids"].values() for pid in pids)
    assert development.facts()["pids"] == {}


def test_a_second_start_goes_on_where_it_was_and_a_fresh_one_does_not(development: Development) -> None:
    def start_and_stop(*arguments: str) -> dict[str, Any]:
        process = development.start(*arguments)
        development.lines_until_ready(process)
        facts = development.facts()
        assert development.stop(process) == 0
        return facts

    first, second, fresh = start_and_stop(), start_and_stop(), start_and_stop("fresh")
    same = ("base_url", "sandbox_url", "database_url", "redis_url")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}
    assert second["runs"] == 2
    assert fresh["runs"] == 1
    assert fresh["database_url"] != first["database_url"]


def test_a_killed_process_has_a_new_pid_in_the_demo_file(development: Development) -> None:
    process = development.start()
    development.lines_until_ready(process)
    before = development.facts()["pids"]["api"]
    os.kill(before[0], signal.SIGKILL)
    lines: list[str] = []
    while not any(line.startswith("api is ready") for line in lines):
        line = first_line(process)
        assert line is not None, lines
        lines.extend(line.decode().splitlines())
    assert development.facts()["pids"]["api"] != before
    assert httpx.get(development.facts()["base_url"], timeout=5).status_code == 200


def test_a_start_after_everything_was_killed_at_once_is_clean(development: Development) -> None:
    process = development.start()
    development.lines_until_ready(process)
    pids = development.facts()["pids"]
    process.kill()
    os.kill(pids["postgres"][0], signal.SIGKILL)
    process.communicate(timeout=WAIT_S)
    development.lines_until_ready(development.start())
    assert not any(runs(pid) for many in pids.values() for pid in many)


def test_a_port_that_somebody_else_has_is_named(development: Development) -> None:
    with socket.create_server(("127.0.0.1", development.port)):
        output, _ = development.start().communicate(timeout=WAIT_S)
    assert f"port {development.port} of 127.0.0.1 is in use".encode() in output


def test_a_folder_with_other_things_in_it_is_not_taken_for_a_home(development: Development) -> None:
    (development.home / "logs").mkdir()
    (development.home / "logs/precious.txt").write_text("kept")
    process = development.start("fresh")
    output, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert b"holds logs but no home.json, so it is no home that Chowk made" in output
    assert (development.home / "logs/precious.txt").read_text() == "kept"


async def test_servers_named_from_outside_are_used_and_nothing_is_embedded(outside_plan: Plan) -> None:
    assert [process.name for process in outside_plan.processes] == ["prepare", "emulator", "api", "worker", "beat"]
    assert outside_plan.facts["database_url"] == OUTSIDE["DATABASE_URL"]
    environments = {process.name: process.env for process in outside_plan.processes}
    assert {env["REDIS_URL"] for env in environments.values()} == {"redis://cache/0"}
    assert [name for name, env in environments.items() if "CHOWK_ADMIN_DATABASE_URL" in env] == ["prepare"]


async def test_the_product_sends_to_the_emulator_unless_told_otherwise(tmp_path: Path, outside_plan: Plan) -> None:
    worker = next(process for process in outside_plan.processes if process.name == "worker")
    assert worker.env["CHOWK_META_GRAPH_URL"] == outside_plan.facts["sandbox_url"]
    environment = {**OUTSIDE, "CHOWK_META_GRAPH_URL": "https://graph.facebook.com"}
    plan = await development_plan(open_home(tmp_path), environment, port=8000)
    worker = next(process for process in plan.processes if process.name == "worker")
    assert worker.env["CHOWK_META_GRAPH_URL"] == "https://graph.facebook.com"


async def test_bytecode_is_kept_in_the_home_where_it_may_not_lie_beside_the_sources(tmp_path: Path) -> None:
    home = open_home(tmp_path)
    plan = await development_plan(home, {**OUTSIDE, "PYTHONDONTWRITEBYTECODE": "1"}, port=8000)
    for process in plan.processes:
        assert process.env["PYTHONPYCACHEPREFIX"] == str(home.path / "pycache")
        assert "PYTHONDONTWRITEBYTECODE" not in process.env


async def test_a_database_from_outside_needs_its_administrator(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="CHOWK_ADMIN_DATABASE_URL is not; set it"):
        await development_plan(open_home(tmp_path), {"DATABASE_URL": OUTSIDE["DATABASE_URL"]}, port=8000)


def test_the_database_of_a_stopped_stack_refuses_connections(development: Development) -> None:
    process = development.start()
    development.lines_until_ready(process)
    url = development.facts()["database_url"]
    development.stop(process)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url, connect_timeout=2)
