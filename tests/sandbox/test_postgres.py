"""The embedded PostgreSQL, started for real: what it is, what it survives, where it lives."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from core.errors import SettingInvalid
from sandbox.home import clear_home, locked, open_home
from sandbox.place import data_place, is_open, server_user, stand_in
from sandbox.postgres import embedded_postgres, remove_cluster
from sandbox.postgres_install import find_install, reachable_install
from sandbox.process import OrdinaryUser
from sandbox.process_table import children_of, read_entry, read_table
from tests.embedded import Embedded, make_home, processes_of, start_embedded, stop_embedded

WAIT_S = 30.0


class Servers:
    """Embedded servers on one home, started and stopped by a test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._running: list[Embedded] = []

    def start(self) -> Embedded:
        servers = start_embedded(self.home)
        self._running.append(servers)
        return servers

    def close(self) -> None:
        for servers in self._running:
            if servers.runner.poll() is None:
                stop_embedded(servers.runner)
        for pid in processes_of(self.home):
            os.kill(pid, signal.SIGKILL)

    @property
    def cluster(self) -> Path:
        return self.home / "postgres" / "data"

    def postmaster(self) -> int:
        return int((self.cluster / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture
def servers() -> Iterator[Servers]:
    home = make_home()
    running = Servers(home)
    yield running
    running.close()
    shutil.rmtree(home)


def ask(url: str, query: str) -> str:
    with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def ask_until_it_answers(url: str, query: str) -> str:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return ask(url, query)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
        connection.execute(statement.encode())


def runs(pid: int) -> bool:
    entry = read_entry(pid)
    return entry is not None and entry.runs


def test_it_is_what_the_product_needs(embedded: Embedded) -> None:
    url = embedded.admin_url
    assert ask(url, "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'vector'") == "public"
    assert ask(url, "SELECT '[1,0]'::vector <=> '[0,1]'::vector") == "1.0"
    collation = "SELECT concat_ws(' ', datcollate, datctype, pg_encoding_to_char(encoding)) FROM pg_database"
    assert ask(url, f"{collation} WHERE datname = current_database()") == "C.UTF-8 C.UTF-8 UTF8"
    assert ask(url, "SELECT lower('ÉCOLE')") == "école"
    expected = {"max_connections": "120", "jit": "off", "synchronous_commit": "on", "listen_addresses": "127.0.0.1"}
    assert {name: ask(url, f"SHOW {name}") for name in expected} == expected
    assert ask(url, "SHOW unix_socket_directories") == ""


def test_a_wrong_password_is_refused(embedded: Embedded) -> None:
    password = embedded.admin_url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded.admin_url.replace(password, "guess"), connect_timeout=2)


def test_the_log_holds_no_row_and_no_statement(servers: Servers) -> None:
    url = servers.start().admin_url
    run(url, "CREATE TABLE people (phone text PRIMARY KEY)")
    run(url, "INSERT INTO people VALUES ('+919876543210')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(url, "INSERT INTO people VALUES ('+919876543210')")
    log = (servers.home / "logs/postgres.log").read_text()
    assert "duplicate key value" in log
    assert "9876543210" not in log


def test_a_second_start_finds_the_data_on_the_same_port(servers: Servers) -> None:
    first = servers.start()
    run(first.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert stop_embedded(first.runner) == 0
    assert processes_of(servers.home) == []
    second = servers.start()
    assert second.admin_url == first.admin_url
    assert ask(second.admin_url, "SELECT answer FROM kept") == "42"


def test_a_port_that_was_taken_meanwhile_is_given_up(servers: Servers) -> None:
    first = servers.start()
    port = int(first.admin_url.rpartition(":")[2].split("/")[0])
    stop_embedded(first.runner)
    with socket.create_server(("127.0.0.1", port)):
        second = servers.start()
    assert f":{port}/" not in second.admin_url
    assert ask(second.admin_url, "SELECT 1") == "1"


def test_a_killed_postmaster_is_started_again_and_the_data_is_there(servers: Servers) -> None:
    url = servers.start().admin_url
    run(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postmaster = servers.postmaster()
    os.kill(postmaster, signal.SIGKILL)
    assert ask_until_it_answers(url, "SELECT answer FROM kept") == "42"
    assert servers.postmaster() != postmaster


def test_backends_of_a_killed_postmaster_are_ended_before_the_restart(servers: Servers) -> None:
    url = servers.start().admin_url
    with psycopg.connect(url, autocommit=True) as busy:
        backend = busy.info.backend_pid
        # A stopped backend cannot notice that its postmaster is gone and holds the shared memory.
        os.kill(backend, signal.SIGSTOP)
        os.kill(servers.postmaster(), signal.SIGKILL)
        assert ask_until_it_answers(url, "SELECT 1") == "1"
        assert not runs(backend)


def test_a_start_survives_that_supervisor_and_postmaster_were_killed_together(servers: Servers) -> None:
    first = servers.start()
    run(first.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with psycopg.connect(first.admin_url, autocommit=True) as busy:
        backend, postmaster = busy.info.backend_pid, servers.postmaster()
        os.kill(backend, signal.SIGSTOP)
        os.kill(first.runner.pid, signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)
        stop_embedded(first.runner)
        second = servers.start()
        assert ask(second.admin_url, "SELECT answer FROM kept") == "42"
        assert not runs(backend)


def test_a_stale_pid_file_that_names_a_living_process_does_not_block_the_start(servers: Servers) -> None:
    first = servers.start()
    lines = (servers.cluster / "postmaster.pid").read_text().splitlines()
    stop_embedded(first.runner)
    (servers.cluster / "postmaster.pid").write_text("\n".join([str(os.getppid()), *lines[1:], ""]))
    assert ask(servers.start().admin_url, "SELECT 1") == "1"
    assert runs(os.getppid())


def test_the_servers_end_with_whoever_started_them(servers: Servers) -> None:
    runner = servers.start().runner
    children = children_of(read_table(), runner.pid)
    assert len(children) == 2
    runner.terminate()
    assert runner.wait(WAIT_S) == 0
    assert not any(runs(pid) for pid in children)


async def test_a_cluster_of_another_version_is_named(servers: Servers) -> None:
    stop_embedded(servers.start().runner)
    (servers.cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(SettingInvalid, match="is of PostgreSQL 17, the installed one is 18"):
        await embedded_postgres(open_home(servers.home))


async def test_a_cluster_that_was_half_made_is_made_anew(servers: Servers) -> None:
    home = open_home(servers.home)
    half = home.path / "postgres" / "data.half"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = await embedded_postgres(home, fsync=False)
    assert (server.cluster / "PG_VERSION").read_text() == "18\n"
    assert not half.exists()


async def test_a_failed_initdb_says_why(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.postgres.ADMIN", "pg_reserved")
    with pytest.raises(SettingInvalid, match='superuser name "pg_reserved" is disallowed'):
        await embedded_postgres(open_home(servers.home), fsync=False)


def test_a_fresh_home_keeps_nothing_but_its_lock(servers: Servers) -> None:
    stop_embedded(servers.start().runner)
    (servers.home / "somebody-elses.txt").write_text("kept")
    home = open_home(servers.home)
    with locked(home):
        remove_cluster(home)
        clear_home(home)
    left = {path.relative_to(servers.home).as_posix() for path in servers.home.rglob("*")}
    assert left == {"home.json", "logs", "run", "run/lock", "runner.log", "somebody-elses.txt"}
    assert home.state.read_text() == "{}\n"


def test_the_servers_never_run_as_root(servers: Servers) -> None:
    runner = servers.start().runner
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in children_of(read_table(), runner.pid)}
    user = server_user()
    assert owners == {os.geteuid() if user is None else user.uid}
    assert owners != {0}


def test_data_stays_with_the_account_that_it_was_made_under(servers: Servers) -> None:
    stop_embedded(servers.start().runner)
    nobody = pwd.getpwnam("nobody")
    if os.geteuid() == 0:
        for path in (servers.cluster.parent, *servers.cluster.parent.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    owner = servers.cluster.stat().st_uid
    runner = servers.start().runner
    assert owner in {Path(f"/proc/{pid}").stat().st_uid for pid in children_of(read_table(), runner.pid)}


def test_data_of_a_closed_home_lives_where_the_servers_can_reach_it(servers: Servers) -> None:
    servers.home.chmod(0o700)
    home = open_home(servers.home)
    place = home.path if server_user() is None else stand_in(home)
    first = servers.start()
    run(first.admin_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    stop_embedded(first.runner)
    assert ask(servers.start().admin_url, "SELECT answer FROM kept") == "42"
    assert (place / "postgres/data/PG_VERSION").exists()
    assert servers.home.stat().st_mode & 0o777 == 0o700
    servers.close()
    remove_cluster(home)
    assert not stand_in(home).exists()


def test_a_place_that_others_can_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(tmp_path / "home")
    home.path.chmod(0o700)
    monkeypatch.setattr("sandbox.place.OPEN_PLACE", tmp_path)
    stand_in_place = tmp_path / stand_in(home).name
    stand_in_place.mkdir()
    stand_in_place.chmod(0o777)
    with pytest.raises(SettingInvalid, match="is not a folder that only root can write"):
        data_place(home, OrdinaryUser(name="nobody", uid=65534, gid=65534))


def test_programs_in_a_closed_virtualenv_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = find_install().programs

    def is_open_but_for_the_virtualenv(path: Path) -> bool:
        return path != closed and is_open(path)

    monkeypatch.setattr("sandbox.postgres_install.is_open", is_open_but_for_the_virtualenv)
    user = OrdinaryUser(name="nobody", uid=65534, gid=65534)
    copy = reachable_install(tmp_path, user)
    made_at = copy.initdb.stat().st_ctime_ns
    assert copy.programs.is_relative_to(tmp_path)
    assert reachable_install(tmp_path, user) == copy
    assert copy.initdb.stat().st_ctime_ns == made_at
    for program in (copy.initdb, copy.postgres):
        version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=WAIT_S, check=True)
        assert "(PostgreSQL) 18." in version.stdout
