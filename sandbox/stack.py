"""`chowk dev`: the whole product on this machine, from an empty folder or going on where it was.

`development_plan` is the list of processes; `run_dev` prepares the home, hands the list to the supervisor, says when
everything answers and keeps `demo.json` true.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import ChowkError, SettingInvalid
from sandbox.demo_file import DemoFile
from sandbox.emulator.config import CONFIG_VARIABLE
from sandbox.home import Home, clear_home, locked, open_home, port_for, secret_key_for
from sandbox.leftovers import end_leftovers, remember
from sandbox.ports import HOST, is_free
from sandbox.postgres import embedded_postgres, postgres_process, remove_cluster
from sandbox.prepare import seeded_facts
from sandbox.process import SUPERVISED_BY, Process
from sandbox.readiness import answers_200, has_made, without
from sandbox.reaper import require_linux
from sandbox.redis import embedded_redis, redis_process
from sandbox.supervisor import Supervisor, Trees, install_stop_signals
from worker.ready import READY_FILE

ADMIN_DATABASE_URL = "CHOWK_ADMIN_DATABASE_URL"
DEMO_FILE = "demo.json"
#: The `chowk` command of the same installation, wherever its script lies.
CHOWK = (sys.executable, "-m", "cli.main")
#: It holds its state in one process.
EMULATOR = (
    *(sys.executable, "-m", "granian", "sandbox.emulator.app:create_app", "--factory", "--interface", "asgi"),
    *("--workers", "1", "--workers-kill-timeout", "2", "--respawn-failed-workers", "--log-level", "warning"),
)

#: A first start embeds the demo's articles on a machine that may be slow.
PREPARE_S = 600.0
WORKER_STOP_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and what is known about it beforehand."""

    processes: tuple[Process, ...]
    facts: Mapping[str, str]


async def run_dev(*, port: int, home: Path, fresh: bool, verbose: bool) -> int:
    """Run everything until Ctrl-C; gives the exit status. Prints `chowk ready: <url>` when all of it answers.

    Run it with `asyncio.run` on the main thread: the kernel ties the life of the children to that thread.

    Args:
        port: of the API, on 127.0.0.1.
        home: the folder of all data; made if missing.
        fresh: whether to delete the home's data first.
        verbose: whether to show what the processes write.
    """
    try:
        require_linux()
        opened = open_home(home)
        with locked(opened):
            await _begin(opened, port=port, fresh=fresh)
            plan = await development_plan(opened, os.environ, port=port)
            await _supervise(opened, plan, verbose=verbose)
    except ChowkError as error:
        _say(f"chowk: {error.message}")
        return 1
    return 0


async def development_plan(home: Home, environment: Mapping[str, str], *, port: int) -> Plan:
    """Which processes with which environment. Makes the database's cluster if there is none; starts nothing.

    Raises:
        SettingInvalid: an embedded server is not installed, or the environment names half of an outside one.
    """
    servers = await _servers(home, environment)
    emulator_port = port_for(home, "emulator")
    facts = {
        "base_url": f"http://{HOST}:{port}",
        "sandbox_url": f"http://{HOST}:{emulator_port}",
        "database_url": servers.database_url,
        "redis_url": servers.redis_url,
    }
    shared = {
        **_inherited(home, environment),
        "CHOWK_HOME": str(home.path),
        "CHOWK_SECRET_KEY": environment.get("CHOWK_SECRET_KEY") or secret_key_for(home),
        "CHOWK_META_GRAPH_URL": environment.get("CHOWK_META_GRAPH_URL") or facts["sandbox_url"],
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        CONFIG_VARIABLE: str(home.run / "emulator.json"),
        SUPERVISED_BY: str(home.path),
        "PYTHONUNBUFFERED": "1",
        # Started in a folder that holds, say, a `tools` of its own, the processes still import ours.
        "PYTHONSAFEPATH": "1",
    }
    processes = (
        *servers.processes,
        _prepare(shared, admin_url=servers.admin_url, base_url=facts["base_url"]),
        _emulator(shared, port=emulator_port),
        _api(shared, port=port),
        _clockwork("worker", home, shared),
        _clockwork("beat", home, shared),
    )
    return Plan(processes=_without_absent(processes), facts=facts)


def _inherited(home: Home, environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without the administrator's URL, and with a cache for bytecode.

    Where Python may write no bytecode beside its sources, each of our processes would compile every module anew:
    that doubles the time of a start.
    """
    inherited = {name: value for name, value in environment.items() if name != ADMIN_DATABASE_URL}
    if inherited.pop("PYTHONDONTWRITEBYTECODE", ""):
        inherited.setdefault("PYTHONPYCACHEPREFIX", str(home.path / "pycache"))
    return inherited


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    processes: tuple[Process, ...]
    database_url: str
    admin_url: str
    redis_url: str


async def _servers(home: Home, environment: Mapping[str, str]) -> _Servers:
    """The servers that are named from outside, and embedded ones in the place of those that are not."""
    processes: list[Process] = []
    database_url, admin_url = environment.get("DATABASE_URL"), environment.get(ADMIN_DATABASE_URL)
    redis_url = environment.get("REDIS_URL")
    if not database_url:
        postgres = await embedded_postgres(home)
        database_url, admin_url = postgres.app_url, postgres.admin_url
        processes.append(postgres_process(postgres, home))
    if not admin_url:
        raise SettingInvalid(
            f"DATABASE_URL is set and {ADMIN_DATABASE_URL} is not; set it to an administrator of the same database,"
            " with which `chowk dev` migrates, or unset both to use the embedded PostgreSQL"
        )
    if not redis_url:
        redis = embedded_redis(home)
        redis_url = redis.url
        processes.append(redis_process(redis, home))
    return _Servers(processes=tuple(processes), database_url=database_url, admin_url=admin_url, redis_url=redis_url)


def _prepare(shared: Mapping[str, str], *, admin_url: str, base_url: str) -> Process:
    """The only process that gets the administrator's URL."""
    return Process(
        name="prepare",
        argv=(sys.executable, "-m", "sandbox.prepare", "--base-url", base_url),
        env={**shared, ADMIN_DATABASE_URL: admin_url},
        ready=None,
        start_s=PREPARE_S,
        show_output=True,
        depends_on=("postgres",),
    )


def _emulator(shared: Mapping[str, str], *, port: int) -> Process:
    return Process(
        name="emulator",
        argv=(*EMULATOR, "--host", HOST, "--port", str(port)),
        env=shared,
        ready=answers_200(port, "/"),
        depends_on=("prepare",),
    )


def _api(shared: Mapping[str, str], *, port: int) -> Process:
    return Process(
        name="api",
        argv=(*CHOWK, "api", "--port", str(port)),
        env=shared,
        ready=answers_200(port, "/readyz"),
        depends_on=("prepare", "redis"),
    )


def _clockwork(name: str, home: Home, shared: Mapping[str, str]) -> Process:
    """The worker or the beat: a process without a port, which says by a file that it works."""
    ready_file = home.run / f"{name}.ready"
    return Process(
        name=name,
        argv=(*CHOWK, name),
        env={**shared, READY_FILE: str(ready_file)},
        ready=has_made(ready_file),
        before_start=without(ready_file),
        depends_on=("prepare", "redis"),
        outlived_by=("emulator",),
        stop_grace_s=WORKER_STOP_S,
    )


def _without_absent(processes: tuple[Process, ...]) -> tuple[Process, ...]:
    """Drop what depends on servers that are not ours to start."""
    names = {process.name for process in processes}
    return tuple(
        replace(process, depends_on=tuple(name for name in process.depends_on if name in names))
        for process in processes
    )


async def _begin(home: Home, *, port: int, fresh: bool) -> None:
    """Clear away what an earlier start left, and with `fresh` all its data."""
    if ended := await end_leftovers(home):
        _say(f"ended {ended} processes of an earlier start")
    if fresh:
        remove_cluster(home)
        clear_home(home)
    (home.path / DEMO_FILE).unlink(missing_ok=True)
    if not is_free(port):
        raise SettingInvalid(f"port {port} of {HOST} is in use; stop what listens there, or choose another with --port")


async def _supervise(home: Home, plan: Plan, *, verbose: bool) -> None:
    demo_file = DemoFile(home.path / DEMO_FILE)

    def on_change(trees: Trees) -> None:
        remember(home, trees)
        demo_file.update(trees)

    supervisor = Supervisor(plan.processes, logs=home.logs, on_change=on_change, say=_say, verbose=verbose)
    install_stop_signals(supervisor)
    announcing = asyncio.create_task(_announce(supervisor, demo_file, home, plan))
    announcing.add_done_callback(lambda task: None if task.cancelled() or not task.exception() else supervisor.stop())
    try:
        await supervisor.run()
    finally:
        announcing.cancel()
        await asyncio.wait([announcing])
    if not announcing.cancelled():
        announcing.result()


async def _announce(supervisor: Supervisor, demo_file: DemoFile, home: Home, plan: Plan) -> None:
    await supervisor.ready()
    demo_file.publish({**plan.facts, **seeded_facts(home.path)})
    _say(f"the customer's phone: {plan.facts['sandbox_url']}")
    _say(f"chowk ready: {plan.facts['base_url']}")


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that was closed is no reason to stop
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
