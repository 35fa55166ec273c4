"""Metrics for Prometheus: what this process counted, and how deep the queues are."""

import os
import time

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.server import MULTIPROCESS_FOLDER
from core.errors import NotDurable
from core.log import logger
from core.telemetry import QUEUE_DEPTH, WORKER_POLLED_AT
from db.pools import Database
from db.probe import queue_depths, worker_polled_at

log = logger(__name__)
router = APIRouter(tags=["health"])

#: Counting the queues is not repeated more often than this, however many scrape.
DEPTHS_INTERVAL_S = 2.0


class DepthGauge:
    """Keeps the gauges of queue depths and of the workers' last poll fresh."""

    def __init__(self) -> None:
        self._counted_at = float("-inf")

    async def refresh(self, database: Database) -> None:
        """Count again if the last count is old; the old one stays where the database does not answer."""
        if time.monotonic() - self._counted_at < DEPTHS_INTERVAL_S:
            return
        self._counted_at = time.monotonic()
        try:
            depths, polled_at = await queue_depths(database), await worker_polled_at(database)
        except NotDurable as error:
            log.warning("queue_depths_unknown", error=error.message)
            return
        for queue, waiting in depths.waiting.items():
            QUEUE_DEPTH.labels(queue).set(waiting)
        if polled_at is not None:
            WORKER_POLLED_AT.set(polled_at.timestamp())


@router.get(
    "/metrics",
    summary="Metrics in Prometheus' text format",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Count the queues and give every metric."""
    gauge = request.app.state.depth_gauge
    assert isinstance(gauge, DepthGauge)
    await gauge.refresh(request.app.state.database)
    return Response(generate_latest(_registry()), media_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    if MULTIPROCESS_FOLDER not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry
