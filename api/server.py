"""Starts the API: Granian with uvloop, worker processes that are started again when they die."""

import os
import tempfile
from typing import Any

from api.metrics import MULTIPROCESS_FOLDER

RESPAWN_S = 0.5
#: How long a stopping worker may finish its requests; the acceptor commits what waits within a few seconds.
STOP_S = 10
BACKLOG = 2048


def serve(*, host: str, port: int, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT. One worker is enough for one core; more share the port."""
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.log import LogLevels
    from granian.server import Server

    with tempfile.TemporaryDirectory(prefix="chowk-metrics-") as folder:
        if workers > 1:
            # Read by prometheus_client when the workers import it: their counts are summed through this folder.
            os.environ[MULTIPROCESS_FOLDER] = folder
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
        Server("api.app:create_app", **options).serve()
