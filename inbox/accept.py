"""The durable door: a raw body goes in, and the call returns once it is committed.

Bodies of many requests share one commit. There is no timer: a batch is whatever has gathered by the moment the previous
commit returns, so an idle server commits at once and a busy one commits more at a time.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import psycopg

from channels.protocol import Verdict
from core.crypto import Sealer
from core.errors import NotDurable, Overloaded
from core.ids import TenantId
from core.log import logger
from core.telemetry import ACCEPT_BATCH_ROWS
from db.binary_arrays import (
    NULL,
    bytea_array,
    bytea_element,
    int4_array,
    int4_element,
    text_array,
    text_element,
)
from db.pools import Database
from db.transactions import DatabaseUnavailable, edge_insert
from inbox.blobs import SealedBlob, body_context

log = logger(__name__)

#: Of how many sources what their rows share is remembered.
ORIGINS_MAX = 4_096
BATCH_ROWS_MAX = 256
BATCH_BYTES_MAX = 4 * 1024 * 1024
QUEUE_ROWS_MAX = 2_000
#: Providers give up after some seconds (Razorpay after 5), so whoever waits is told to try again before that, even if
#: the database hangs. A body that is committed later all the same is the same row when it comes again.
COMMIT_TIMEOUT_S = 3.0

#: The inbox may be written but not read at this door, so neither a conflict target nor RETURNING is allowed here.
INSERT = """
INSERT INTO core.inbox (source_id, tenant_id, channel, verdict, lane, trace_id,
                        dedupe_key, body_bytes, body_sealed, body_wrapped_key, body_blob)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                     %b::bytea[], %b::int[], %b::bytea[], %b::bytea[], %b::text[])
ON CONFLICT DO NOTHING
"""


#: How each column of `INSERT` becomes an array.
COLUMN_ARRAYS: Final[tuple[Callable[[Iterable[bytes]], bytes], ...]] = (
    *(text_array,) * 6, bytea_array, int4_array, bytea_array, bytea_array, text_array,
)  # fmt: skip


@dataclass(slots=True)
class _Waiting:
    """A row and whoever waits for it."""

    source_id: str
    size_bytes: int
    #: The row as elements of arrays, in the order of `INSERT`.
    elements: tuple[bytes, ...]
    #: Gives whether the row is new; None where that is not known.
    stored: asyncio.Future[bool | None]
    #: Whether the body lies in the blob store.
    in_blob: bool = False


class Acceptor:
    """Commits bodies in batches. One per process; use `open_acceptor`."""

    def __init__(self, database: Database, sealer: Sealer, ring: Callable[[], None]) -> None:
        self._database = database
        self._sealer = sealer
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._stalled = False
        self._closing = False

    async def accept(
        self,
        body: bytes | SealedBlob,
        *,
        source_id: str,
        tenant_id: TenantId | None,
        channel: str,
        verdict: Verdict,
        trace_id: str,
        lane: str = "interactive",
    ) -> bool | None:
        """Store one raw body; returns once it is committed.

        Gives whether it is new (False: the same body of the same source is stored already), or None where it shared
        its statement with others and that is not known.

        Raises:
            NotDurable: it could not be committed; the sender must try again.
            Overloaded: too many bodies wait; the sender must try again later.
        """
        if len(self._queue) >= QUEUE_ROWS_MAX:
            raise Overloaded(f"{QUEUE_ROWS_MAX} webhooks wait to be stored; try again")
        if self._stalled:
            raise NotDurable(f"the database has not answered for {COMMIT_TIMEOUT_S:.0f} s; try again")
        origin = _origin(source_id, tenant_id, channel, verdict, lane)
        stored: asyncio.Future[bool | None] = self._loop.create_future()
        if isinstance(body, SealedBlob):
            elements = (*origin, _text(trace_id), *_blob_elements(body))
            waiting = _Waiting(source_id, body.size_bytes, elements, stored, in_blob=True)
        else:
            elements = (*origin, _text(trace_id), *self._inline_elements(body, source_id))
            waiting = _Waiting(source_id, len(body), elements, stored)
        self._queue.append(waiting)
        self._arrived.set()
        return await stored

    def _inline_elements(self, body: bytes, source_id: str) -> tuple[bytes, ...]:
        sealed = self._sealer.seal(body, context=body_context(source_id))
        return (
            bytea_element(hashlib.sha256(body).digest()),
            int4_element(len(body)),
            bytea_element(sealed.ciphertext),
            bytea_element(sealed.wrapped_key),
            NULL,
        )

    async def run(self) -> None:
        """Commit batches until `close`; the one flusher of the process."""
        while self._queue or not self._closing:
            await self._arrived.wait()
            # Requests whose bytes are here already take their place before the batch is closed.
            await asyncio.sleep(0)
            self._arrived.clear()
            while self._queue:
                await self._flush(self._take_batch())

    def close(self) -> None:
        """Have `run` return once what waits is stored."""
        self._closing = True
        self._arrived.set()

    def fail_all(self, error: NotDurable) -> None:
        """Tell everyone who waits in the queue that their body was not stored."""
        while self._queue:
            _fail(self._queue.popleft(), error)

    def _take_batch(self) -> list[_Waiting]:
        """Whatever waits, up to a batch.

        A body in the blob store goes alone: its statement's count tells whether it was new and its blob is needed.
        """
        batch: list[_Waiting] = []
        batch_bytes = 0
        while self._queue and len(batch) < BATCH_ROWS_MAX:
            first = self._queue[0]
            if batch and (first.in_blob or batch_bytes + first.size_bytes > BATCH_BYTES_MAX):
                break
            batch_bytes += first.size_bytes
            batch.append(self._queue.popleft())
            if first.in_blob:
                break
        return batch

    async def _flush(self, batch: list[_Waiting]) -> None:
        """Commit one batch and answer everyone in it, whatever happens."""
        stall = self._loop.call_later(COMMIT_TIMEOUT_S, self._stall, batch)
        try:
            await self._store(batch)
        except NotDurable as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:  # a loop's edge: a defect here must not leave requests waiting for ever
            log.exception("accept_failed")
            for waiting in batch:
                _fail(waiting, NotDurable(f"could not be stored: {type(error).__name__}"))
        finally:
            stall.cancel()
            self._stalled = False

    def _stall(self, batch: Sequence[_Waiting]) -> None:
        log.error("accept_stalled", rows=len(batch), waiting=len(self._queue))
        self._stalled = True
        error = NotDurable(f"the database has not answered for {COMMIT_TIMEOUT_S:.0f} s; try again")
        for waiting in batch:
            _fail(waiting, error)
        self.fail_all(error)

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        """Commit the batch; where one row poisons it, commit its halves, so that only that row is refused."""
        columns = zip(*(waiting.elements for waiting in batch), strict=True)
        arrays = [array(column) for array, column in zip(COLUMN_ARRAYS, columns, strict=True)]
        try:
            inserted = await edge_insert(self._database, INSERT, arrays, commit="accept")
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            if len(batch) == 1:
                reason = error.diag.message_primary or type(error).__name__
                # Not the whole error: its detail quotes the row.
                log.error("body_refused_by_database", source_id=batch[0].source_id, reason=reason)  # noqa: TRY400  # the reason says it
                _fail(batch[0], NotDurable(f"the database refuses this body: {reason}"))
                return
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
        except DatabaseUnavailable as error:
            if len(batch) == 1 or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                raise
            # Another process stores the same bodies in another order. Who holds one lock at a time blocks nobody.
            for waiting in batch:
                await self._store([waiting])
        else:
            self._tell_stored(batch, inserted)

    def _tell_stored(self, batch: Sequence[_Waiting], inserted: int | None) -> None:
        ACCEPT_BATCH_ROWS.observe(len(batch))
        is_new = None if inserted is None or len(batch) > 1 else inserted == 1
        for waiting in batch:
            if not waiting.stored.done():
                waiting.stored.set_result(is_new)
        self._ring()


@lru_cache(maxsize=ORIGINS_MAX)
def _origin(source_id: str, tenant_id: TenantId | None, channel: str, verdict: Verdict, lane: str) -> tuple[bytes, ...]:
    """What the rows of one source share, encoded once."""
    return tuple(text_element(value) for value in (source_id, tenant_id, channel, verdict, lane))


def _blob_elements(body: SealedBlob) -> tuple[bytes, ...]:
    return (
        bytea_element(body.sha256),
        int4_element(body.size_bytes),
        NULL,
        bytea_element(body.wrapped_key),
        text_element(body.name),
    )


def _text(value: str) -> bytes:
    try:
        return text_element(value)
    except UnicodeEncodeError:
        raise NotDurable(f"{value!r} is no text that a database can hold") from None


def _fail(waiting: _Waiting, error: NotDurable) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(error)


@asynccontextmanager
async def open_acceptor(
    database: Database, sealer: Sealer, *, ring: Callable[[], None]
) -> AsyncGenerator[Acceptor, None]:
    """The acceptor of this process. On leaving, what waits is stored first; what cannot be is refused.

    `ring` is called after each commit; it must return at once and raise nothing.
    """
    acceptor = Acceptor(database, sealer, ring)
    flusher = asyncio.create_task(acceptor.run(), name="accept")
    try:
        yield acceptor
    finally:
        acceptor.close()
        _, unfinished = await asyncio.wait([flusher], timeout=COMMIT_TIMEOUT_S)
        if unfinished:
            flusher.cancel()
        acceptor.fail_all(NotDurable("the server is stopping; try again"))
