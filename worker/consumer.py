"""Celery's consumer, which keeps the pool of children alive while the broker is away.

The stock one blocks while it reconnects, up to 30 s between attempts, and meanwhile nobody starts a child again that
died; but the children's loops poll and need no broker.
"""

from typing import Any

from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown
from typing_extensions import override

from core.log import logger

log = logger(__name__)

RECONNECT_EVERY_S = 1


class PoolKeepingConsumer(Consumer):
    """Reconnects once a second, for ever, and looks after the pool each time."""

    @override
    def ensure_connected(self, conn: Any) -> Any:  # Any: kombu's connection is not typed
        away: list[Exception] = []

        def failed(error: Exception, _interval: float) -> None:
            if not away:
                log.warning("broker_away", broker=conn.as_uri(), error=str(error))
            away.append(error)

        conn.ensure_connection(
            failed, None, interval_start=RECONNECT_EVERY_S, interval_step=0, interval_max=RECONNECT_EVERY_S,
            callback=self._look_after_pool,
        )  # fmt: skip
        if away:
            log.info("broker_back", broker=conn.as_uri(), attempts=len(away))
        self.first_connection_attempt = False
        return conn

    def _look_after_pool(self) -> None:
        maybe_shutdown()
        pool: Any = self.pool  # Any: Celery's pool is not typed
        if not pool._pool._registered_with_event_loop:  # noqa: SLF001  # it says so nowhere else
            # Before the first connection nothing else does, and without it a dead child's place is never freed.
            pool.register_with_event_loop(self.hub)
        pool.maintain_pool()
