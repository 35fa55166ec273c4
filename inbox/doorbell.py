"""The doorbell: tells the workers of a lane that something is committed for them.

It carries no payload and nothing depends on it: workers poll as well, so a lost ring costs up to a second. Ringing
never waits: a thread of its own speaks to the broker, and a broker that is gone is left alone for a while.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery

from core.log import logger
from core.settings import RedisSettings, load

log = logger(__name__)

#: The name of the worker's task that takes a ring. By name, because this package may not import the worker.
WAKE_TASK = "worker.tasks.wake"
#: Rings that come within this time become one. While they go on without a pause it doubles up to the maximum: workers
#: are then awake anyway, and each ring through Celery costs a quarter of a millisecond.
RING_INTERVAL_MIN_S = 0.01
RING_INTERVAL_MAX_S = 0.05
#: A dead broker is tried again after this long.
BREAK_S = 1.0
#: How long one attempt at the broker may take.
CONNECT_TIMEOUT_S = 0.5
ANSWER_TIMEOUT_S = 0.5


def producer(broker_url: str) -> Celery:
    """A Celery application that only sends; it gives up after one short attempt."""
    sender = Celery("chowk-doorbell", broker=broker_url, set_as_current=False)
    sender.conf.update(
        task_ignore_result=True,
        task_publish_retry=False,
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        broker_pool_limit=1,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_TIMEOUT_S,
            "retry_on_timeout": False,
            "max_retries": 0,
        },
    )
    return sender


class Doorbell:
    """Rings lanes, but not oftener than is of use. Safe to ring from any thread; make one per process."""

    def __init__(self, send: Callable[[str], None]) -> None:
        """Use `open_doorbell`; `send` puts one ring into a lane's queue and may raise anything."""
        self._send = send
        self._pending: set[str] = set()
        self._lock = threading.Lock()
        self._rung = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    def ring(self, lane: str = "interactive") -> None:
        """Wake the workers of this lane soon. Returns at once and raises nothing."""
        if lane in self._pending:
            return
        with self._lock:
            self._pending.add(lane)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                self._thread.start()
        self._rung.set()

    def close(self) -> None:
        """Stop ringing; what is pending is dropped."""
        self._closed = True
        self._rung.set()

    def _run(self) -> None:
        interval_s = RING_INTERVAL_MIN_S
        while not self._closed:
            interval_s = min(interval_s * 2, RING_INTERVAL_MAX_S) if self._rung.is_set() else RING_INTERVAL_MIN_S
            self._rung.wait()
            self._rung.clear()
            with self._lock:
                # Taken off before it is sent: a commit that comes while we send must ring again.
                lanes, self._pending = self._pending, set()
            time.sleep(interval_s if self._send_all(lanes) else BREAK_S)

    def _send_all(self, lanes: set[str]) -> bool:
        for lane in lanes:
            if self._closed:
                break
            try:
                self._send(lane)
            except Exception as error:  # noqa: BLE001  # a thread's edge: whatever the broker does, the work is safe
                log.warning("doorbell_not_rung", lane=lane, error=str(error) or type(error).__name__)
                return False
        return True


def open_doorbell(broker_url: str | None = None) -> Doorbell:
    """The doorbell of this process; the broker is REDIS_URL unless one is given."""
    url = broker_url or load(RedisSettings).url.get_secret_value()
    sender = producer(url)
    waiting = _rings_waiting(url)

    def send(lane: str) -> None:
        # A ring that no worker has taken yet wakes it for us too, and so rings never pile up while no worker runs.
        if waiting(lane) == 0:
            options: dict[str, Any] = {"queue": lane, "ignore_result": True, "retry": False}  # Any: Celery's keywords
            sender.send_task(WAKE_TASK, **options)

    return Doorbell(send)


def _rings_waiting(broker_url: str) -> Callable[[str], int]:
    """How many rings wait in a lane's queue; always 0 for a broker that is not Redis, where asking costs more."""
    if not broker_url.startswith(("redis://", "rediss://", "unix://")):
        return lambda _lane: 0
    client = redis.Redis.from_url(
        broker_url, socket_connect_timeout=CONNECT_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S, max_connections=1
    )

    def waiting(lane: str) -> int:
        length = client.llen(lane)
        assert isinstance(length, int)
        return length

    return waiting
