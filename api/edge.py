"""The webhook edge: providers POST here, and are told 200 once what they sent is committed.

One bare ASGI callable, outside any framework. Nothing is parsed; what a body means is found out later, at our own pace.

200 accepted, now or before · 401 unsigned · 403 wrong signature or token · 404 nobody receives here · 405 wrong method
408 too slow · 413 too large · 415 compressed · 503 not durable or overloaded: the provider tries again.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Protocol
from urllib.parse import parse_qsl

from prometheus_client import Counter, Histogram

from api.asgi import ACCEPTED, Answer, Receive, Scope, Send, plain_answer, refusal
from api.endpoints import Endpoint, Endpoints
from api.intake import EncodingRefused, Intake, SenderGone
from channels.protocol import Verdict
from core.errors import BodyTooLarge, ChowkError, RequestInvalid
from core.ids import TenantId
from core.log import logger
from core.telemetry import WEBHOOK_SECONDS, WEBHOOKS, trace_id_from
from inbox.blobs import SealedBlob

log = logger(__name__)

QUERY_FIELDS_MAX = 32
#: Refusals are logged at most this often, each with how many were not.
REFUSAL_LOG_INTERVAL_S = 1.0
#: The label of requests to paths that do not exist: strangers must not be able to make labels.
NO_CHANNEL = "none"


class MethodRefused(RequestInvalid):
    """Webhook URLs take GET and POST."""

    status = 405


class Accept(Protocol):
    """Stores one body durably; `inbox.accept.Acceptor.accept`."""

    async def __call__(
        self,
        body: bytes | SealedBlob,
        *,
        source_id: str,
        tenant_id: TenantId | None,
        channel: str,
        verdict: Verdict,
        trace_id: str,
    ) -> bool | None:
        """Return once it is committed; False where it was stored before."""
        ...


class Edge:
    """The ASGI callable of `/webhooks/…`. One per process."""

    def __init__(self, endpoints: Endpoints, intake: Intake, accept: Accept) -> None:
        self._endpoints = endpoints
        self._intake = intake
        self._accept = accept
        self._refusals_unlogged = 0
        self._refusal_logged_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        path: str = scope["path"]
        endpoint = self._endpoints.known(path)
        try:
            if endpoint is None:
                endpoint = await self._endpoints.find(path)
            answer = await self._answer(endpoint, scope, receive)
        except SenderGone:
            return
        except ChowkError as error:
            answer = self._refuse(error, path)
        except Exception as error:  # a handler's edge: the provider must hear that it was not stored
            log.exception("webhook_failed", path=path[:128])
            answer = refusal(_Defect(type(error).__name__))
        await send(answer[0])
        await send(answer[1])
        channel = NO_CHANNEL if endpoint is None else endpoint.source.channel
        _counter(channel, answer[0]["status"]).inc()
        _histogram(channel).observe(time.perf_counter() - began)

    async def _answer(self, endpoint: Endpoint, scope: Scope, receive: Receive) -> Answer:
        method = scope["method"]
        if method == "POST":
            headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
            await self._store(endpoint, headers, receive)
            return ACCEPTED
        if method == "GET":
            return plain_answer(200, endpoint.receiver.handshake(_query(scope), endpoint.source.secrets))
        raise MethodRefused(f"{method} is not for webhooks; providers use GET for the handshake and POST to deliver")

    async def _store(self, endpoint: Endpoint, headers: Mapping[str, bytes], receive: Receive) -> None:
        encoding = headers.get("content-encoding")
        if encoding is not None and encoding.strip().lower() != b"identity":
            raise EncodingRefused("compressed bodies are refused: send the bytes that are signed")
        declared_bytes = _declared_bytes(headers)
        bytes_max = endpoint.receiver.body_bytes_max
        if declared_bytes is not None and declared_bytes > bytes_max:
            raise BodyTooLarge(f"the body has {declared_bytes} bytes; this channel sends at most {bytes_max}")
        # A body that does not say how long it is counts as the longest it can be.
        held_bytes = bytes_max if declared_bytes is None else declared_bytes
        self._intake.reserve(held_bytes)
        try:
            body, verdict = await self._intake.take(endpoint, headers, declared_bytes=declared_bytes, receive=receive)
            traceparent = headers.get("traceparent")
            is_new = await self._accept(
                body,
                source_id=endpoint.source.id,
                tenant_id=endpoint.source.tenant_id,
                channel=endpoint.source.channel,
                verdict=verdict,
                trace_id=trace_id_from(None if traceparent is None else traceparent.decode("latin-1")),
            )
        finally:
            self._intake.release(held_bytes)
        if is_new is False and isinstance(body, SealedBlob):
            await self._intake.discard(body)

    def _refuse(self, error: ChowkError, path: str) -> Answer:
        """Log the reason, which the sender is not told, but never once per request: a flood must not fill the disk."""
        now = time.monotonic()
        if now - self._refusal_logged_at < REFUSAL_LOG_INTERVAL_S:
            self._refusals_unlogged += 1
        else:
            unlogged, self._refusals_unlogged = self._refusals_unlogged, 0
            self._refusal_logged_at = now
            log.warning(
                "webhook_refused", path=path[:128], status=error.status, reason=error.message, unlogged_before=unlogged
            )
        return refusal(error)


class _Defect(ChowkError):
    """A defect of ours; the provider tries again."""

    status = 503


@cache
def _counter(channel: str, status: int) -> Counter:
    """The counter with its labels bound; binding them takes longer than counting."""
    return WEBHOOKS.labels(channel, str(status))


@cache
def _histogram(channel: str) -> Histogram:
    return WEBHOOK_SECONDS.labels(channel)


def _query(scope: Scope) -> dict[str, str]:
    try:
        return dict(parse_qsl(scope["query_string"].decode("latin-1"), max_num_fields=QUERY_FIELDS_MAX))
    except ValueError:
        raise RequestInvalid(f"the query has more than {QUERY_FIELDS_MAX} fields") from None


def _declared_bytes(headers: Mapping[str, bytes]) -> int | None:
    length = headers.get("content-length")
    if length is None:
        return None
    if not length.isdigit():
        raise RequestInvalid(f"content-length is {length[:32]!r}, not a number of bytes")
    return int(length)
