"""The processes `chowk worker` and `chowk beat`."""

import gc
import os
import signal
import socket
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import uvloop
from celery import signals
from celery.platforms import SecurityWarning
from psycopg_pool import PoolTimeout

from core.log import configure_log, logger
from core.settings import DatabaseSettings, ModelSettings, RedisSettings, SecretSettings, TurnSettings, load
from db.pools import open_database
from worker.beat import BellScheduler
from worker.celery_app import build_app
from worker.lanes import known_lanes
from worker.tasks import register_wake
from worker.thread import LoopThread

log = logger(__name__)

#: The status after a child found a setting wrong; its log says which.
EXIT_REFUSED = 78


def run_worker(lanes: Sequence[str], *, processes: int = 1) -> NoReturn:
    """Work on these lanes in so many child processes until SIGTERM; then let what runs come to an end, and exit.

    Raises:
        SettingInvalid: a setting is wrong, a lane is unknown, or the database login is not an ordinary one.
    """
    configure_log("worker")
    thread = LoopThread(known_lanes(lanes))
    for group in (DatabaseSettings, RedisSettings, SecretSettings, ModelSettings, TurnSettings):
        load(group)
    uvloop.run(_refuse_unsafe_login())
    app = build_app(load(RedisSettings).url.get_secret_value())
    register_wake(app, thread.ring)
    _run_in_children(thread)
    _keep_logging_ours()
    # Everything is imported by now: the children share these pages, and the collector leaves them alone.
    gc.freeze()
    worker = app.Worker(
        hostname=f"chowk-{os.getpid()}@{socket.gethostname()}", pool="prefork", concurrency=processes,
        queues=list(lanes), without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True,
    )  # fmt: skip
    worker.start()
    sys.exit(EXIT_REFUSED if thread.was_refused() else worker.exitcode or 0)


def run_beat() -> NoReturn:
    """Ring every lane's bell about once a second until SIGTERM.

    Raises:
        SettingInvalid: REDIS_URL is wrong.
    """
    configure_log("beat")
    app = build_app(load(RedisSettings).url.get_secret_value())
    _keep_logging_ours()
    signal.signal(signal.SIGTERM, _exit)
    app.Beat(scheduler_cls=BellScheduler, quiet=True, socket_timeout=None).run()
    sys.exit(0)


async def _refuse_unsafe_login() -> None:
    """Look at the login now, where a refusal ends the process; a database that is away is waited for later."""
    try:
        database = await open_database(load(DatabaseSettings), application="start check")
    except PoolTimeout as error:
        log.warning("database_away", error=str(error))
    else:
        await database.close()


def _run_in_children(thread: LoopThread) -> None:
    """Start the loop in each child that is forked, and drain it before the child ends."""

    def start(**_: Any) -> None:  # Any: Celery names what it sends
        thread.start()

    def stop(**_: Any) -> None:  # Any: as above
        thread.stop()

    signals.worker_process_init.connect(start, weak=False)
    signals.worker_process_shutdown.connect(stop, weak=False)


def _keep_logging_ours() -> None:
    def already_set_up(**_: Any) -> None:  # Any: Celery names what it sends
        """Celery sets nothing up where this signal is taken."""

    signals.setup_logging.connect(already_set_up, weak=False)
    # It warns of root because of pickled tasks; ours carry nothing, and only JSON is accepted.
    warnings.filterwarnings("ignore", category=SecurityWarning)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
