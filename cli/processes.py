"""The processes of Chowk, and the migration that comes before them."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from cli.environment import connected
from cli.migration import migrate
from core.settings import EdgeSettings, LogSettings, RedisSettings, SecretSettings, load

DEFAULT_PORT = 8000
LANES_DEFAULT = "interactive,background"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(dev)
    app.command()(api)
    app.command()(worker)
    app.command()(beat)
    app.command()(migrate)


def dev(
    *,
    port: Annotated[int, typer.Option(help="Port of the API on 127.0.0.1.")] = DEFAULT_PORT,
    home: Annotated[Path, typer.Option(help="Folder of all data; made if missing.")] = Path(".chowk"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete the home's data first.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the processes write.")] = False,
) -> None:
    """Run everything on this machine: servers, migrations, a demo, the API, workers and stand-ins of the providers."""
    from sandbox.stack import run_dev

    raise typer.Exit(asyncio.run(run_dev(port=port, home=home, fresh=fresh, verbose=verbose)))


def api(
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Server processes; one takes one core.")] = 1,
) -> None:
    """Serve webhooks and the read API."""
    from api.server import serve

    # Read here too: in a worker process of the server a wrong setting would be a traceback, again and again.
    for group in (SecretSettings, EdgeSettings, RedisSettings, LogSettings):
        load(group)
    asyncio.run(_check_login())
    serve(host=host, port=port, workers=workers)


def worker(
    lanes: Annotated[str, typer.Option(help="Which lanes to work on, separated by commas.")] = LANES_DEFAULT,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Child processes; each runs many turns at once.")] = 1,
) -> None:
    """Work: take webhooks apart, run the agents, deliver what they say."""
    from worker.process import run_worker

    run_worker([lane.strip() for lane in lanes.split(",") if lane.strip()], processes=processes)


def beat() -> None:
    """Ring the workers' bell on schedule."""
    from worker.process import run_beat

    run_beat()


async def _check_login() -> None:
    """See that the database answers and the login is safe, before a server is started that would try for ever."""
    async with connected():
        pass
