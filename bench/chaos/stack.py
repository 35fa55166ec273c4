"""The stack that chaos works on: `chowk dev` with a second worker, and its servers behind ports of our choice.

    python -m bench.chaos.stack --home DIR --port 8000 --postgres-port 7001 --redis-port 7002

The processes of the product reach Postgres and Redis by those ports, where proxies stand; migrations and the demo's
seed go straight. With two workers one can take over what the other held, and one that was paused wakes as a zombie.
Where `REDIS_URL` is set there is no Redis of our own, and nothing brings one up.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from core.errors import ChowkError
from sandbox.demo_file import DemoFile
from sandbox.home import Home, locked, open_home
from sandbox.leftovers import remember
from sandbox.prepare import seeded_facts
from sandbox.process import Process
from sandbox.readiness import has_made, without
from sandbox.reaper import require_linux
from sandbox.stack import DEMO_FILE, Plan, development_plan
from sandbox.supervisor import Supervisor, Trees, install_stop_signals
from worker.ready import READY_FILE

#: What reaches its servers through the proxies.
PROXIED = ("api", "worker", "beat")
SECOND_WORKER = "worker_2"


async def run(home: Home, *, port: int, postgres_port: int, redis_port: int) -> None:
    """Run until a signal says to stop.

    Raises:
        ChowkError: it cannot be started.
    """
    with locked(home):
        plan = await development_plan(home, os.environ, port=port)
        demo_file = DemoFile(home.path / DEMO_FILE)

        def on_change(trees: Trees) -> None:
            remember(home, trees)
            demo_file.update(trees)

        ports = {"DATABASE_URL": postgres_port} | ({} if "REDIS_URL" in os.environ else {"REDIS_URL": redis_port})
        processes = [_proxied(process, ports) for process in plan.processes]
        worker = next(process for process in processes if process.name == "worker")
        processes.append(_second(worker, home))
        supervisor = Supervisor(processes, logs=home.logs, on_change=on_change, say=_say)
        install_stop_signals(supervisor)
        announcing = asyncio.create_task(_announce(supervisor, demo_file, home, plan))
        try:
            await supervisor.run()
        finally:
            announcing.cancel()


async def _announce(supervisor: Supervisor, demo_file: DemoFile, home: Home, plan: Plan) -> None:
    await supervisor.ready()
    demo_file.publish({**plan.facts, **seeded_facts(home.path)})
    _say(f"chowk ready: {plan.facts['base_url']}")


def _proxied(process: Process, ports: Mapping[str, int]) -> Process:
    if process.name not in PROXIED:
        return process
    through = {name: at_port(process.env[name], port) for name, port in ports.items()}
    return replace(process, env={**process.env, **through})


def at_port(url: str, port: int) -> str:
    """The same server by another port of 127.0.0.1."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}"))


def _second(worker: Process, home: Home) -> Process:
    ready_file = home.run / f"{SECOND_WORKER}.ready"
    return replace(
        worker,
        name=SECOND_WORKER,
        env={**worker.env, READY_FILE: str(ready_file)},
        ready=has_made(ready_file),
        before_start=without(ready_file),
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.stack")
    parser.add_argument("--home", type=Path, required=True)
    for name in ("port", "postgres-port", "redis-port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    try:
        require_linux()
        home = open_home(given.home)
        asyncio.run(run(home, port=given.port, postgres_port=given.postgres_port, redis_port=given.redis_port))
    except ChowkError as error:
        _say(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
