"""The embedded PostgreSQL and Redis alone, for tests and benches that bring their own processes.

    python -m sandbox.embedded --home DIR [--no-fsync]

prints one JSON object `{"admin_url", "app_url", "redis_url"}` when both answer, and stops them when its standard
input is closed or it gets SIGTERM. It runs as a process of its own, so that its caller adopts and reaps nothing.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import ChowkError
from sandbox.home import locked, open_home
from sandbox.leftovers import end_leftovers, remember
from sandbox.postgres import embedded_postgres, postgres_process
from sandbox.reaper import require_linux
from sandbox.redis import embedded_redis, redis_process
from sandbox.supervisor import Supervisor, install_stop_signals


async def run_embedded(path: Path, *, fsync: bool, on_ready: Callable[[Mapping[str, str]], None]) -> None:
    """Run both until a signal, or the end of standard input, says to stop.

    Raises:
        ChowkError: they cannot be started.
    """
    require_linux()
    home = open_home(path)
    with locked(home):
        await end_leftovers(home)
        postgres = await embedded_postgres(home, fsync=fsync)
        redis = embedded_redis(home)
        supervisor = Supervisor(
            [postgres_process(postgres, home), redis_process(redis, home)],
            logs=home.logs,
            on_change=lambda trees: remember(home, trees),
            say=_say,
        )
        install_stop_signals(supervisor)
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _stop_at_end_of_input, supervisor)
        urls = {"admin_url": postgres.admin_url, "app_url": postgres.app_url, "redis_url": redis.url}
        announcing = asyncio.create_task(_announce(supervisor, lambda: on_ready(urls)))
        try:
            await supervisor.run()
        finally:
            announcing.cancel()


async def _announce(supervisor: Supervisor, on_ready: Callable[[], None]) -> None:
    await supervisor.ready()
    on_ready()


def _stop_at_end_of_input(supervisor: Supervisor) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        supervisor.stop()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _print_json(value: Mapping[str, str]) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


def main() -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.embedded")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--no-fsync", action="store_true", help="faster; a power cut corrupts the data")
    arguments = parser.parse_args()
    try:
        asyncio.run(run_embedded(arguments.home, fsync=not arguments.no_fsync, on_ready=_print_json))
    except ChowkError as error:
        _say(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
