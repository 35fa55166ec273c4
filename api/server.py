"""Starts the API: Granian with uvloop, worker processes that are started again when they die."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

#: Names prometheus_client's folder of counts. It looks when it is imported, so nothing here may import it.
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
FACTORY = "api.app:create_app"
RESPAWN_S = 0.5
#: How long a stopping worker may finish its requests; the acceptor commits what waits within a few seconds.
STOP_S = 10
BACKLOG = 2048


def serve(*, host: str, port: int, workers: int = 1, factory: str = FACTORY) -> None:
    """Serve until SIGTERM or SIGINT. One worker is enough for one core; more share the port."""
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels
    from granian.server import Server

    options: dict[str, Any] = {  # Any: keywords of Granian
        "address": host,
        "port": port,
        "interface": Interfaces.ASGI,
        "factory": True,
        "loop": Loops.uvloop,
        "http": HTTPModes.http1,
        "websockets": False,
        "workers": workers,
        "backlog": BACKLOG,
        "log_level": LogLevels.warning,
        "respawn_failed_workers": True,
        "respawn_interval": RESPAWN_S,
        "workers_kill_timeout": STOP_S,
    }
    with _counting_together() if workers > 1 else nullcontext():
        Server(factory, **options).serve()


@contextmanager
def _counting_together() -> Generator[None, None, None]:
    """Have the worker processes count in files of one folder, so that whichever is asked for metrics gives all."""
    with tempfile.TemporaryDirectory(prefix="chowk-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        yield
