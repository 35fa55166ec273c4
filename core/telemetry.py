"""Metrics and trace ids. The trace id is stored on rows, so a trace survives the death of a process."""

import re
import secrets
from contextvars import ContextVar

from prometheus_client import Counter, Gauge, Histogram

#: 32 hex digits (W3C trace context); "" outside any trace.
trace_id: ContextVar[str] = ContextVar("trace_id", default="")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

WEBHOOKS = Counter("chowk_webhooks_total", "Webhook requests by answer", ["channel", "status"])
WEBHOOK_SECONDS = Histogram("chowk_webhook_seconds", "Webhook request to answer", ["channel"], buckets=SECONDS)
ACCEPT_BATCH_ROWS = Histogram(
    "chowk_accept_batch_rows", "Rows in one inbox commit", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
EVENTS = Counter("chowk_events_total", "Events taken out of the inbox", ["channel", "kind"])
TURNS = Counter("chowk_turns_total", "Conversation turns by outcome", ["outcome"])
STAGE_SECONDS = Histogram("chowk_stage_seconds", "Time spent in a stage", ["stage"], buckets=SECONDS)
EFFECTS = Counter("chowk_effects_total", "Effects by kind and outcome", ["kind", "outcome"])
QUEUE_DEPTH = Gauge("chowk_queue_depth", "Rows waiting, by queue", ["queue"], multiprocess_mode="mostrecent")
WORKER_POLLED_AT = Gauge(
    "chowk_worker_polled_at_seconds", "When a worker last polled, Unix time", multiprocess_mode="mostrecent"
)


def new_trace_id() -> str:
    """A fresh trace id: 32 hex digits."""
    return secrets.token_hex(16)


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_from(traceparent: str | None) -> str:
    """The trace id of a W3C `traceparent` header, or a fresh one where there is none or it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else new_trace_id()
