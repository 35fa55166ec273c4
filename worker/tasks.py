"""Celery's tasks. They carry nothing: a ring says that something is committed, and Postgres says what."""

from collections.abc import Callable
from typing import Any

from celery import Celery

from inbox.doorbell import WAKE_TASK


def register_wake(app: Celery, ring: Callable[[str], None]) -> None:
    """Have `ring` called with the lane of every ring that this process takes."""

    def wake(task: Any) -> None:  # Any: Celery's tasks are not typed
        ring(task.request.delivery_info["routing_key"])

    app.task(name=WAKE_TASK, bind=True, ignore_result=True)(wake)
