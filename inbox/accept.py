"""The durable door: a raw body goes in, and the call returns once it is committed.

Bodies of many requests share one commit. There is no timer: a batch is whatever has gathered by the moment the previous
commit returns, so an idle server commits at once and a busy one commits more at a time.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from channels.protocol import Verdict
from core.crypto import Sealer
from core.errors import NotDurable, Overloaded
from core.ids import TenantId
from core.log import logger
from core.telemetry import ACCEPT_BATCH_ROWS
from db.pools import Database
from db.transactions import DatabaseUnavailable, edge_tx
from inbox.blobs import SealedBlob, body_context

log = logger(__name__)

BATCH_ROWS_MAX = 256
BATCH_BYTES_MAX = 4 * 1024 * 1024
QUEUE_ROWS_MAX = 2_000
#: Two processes that insert the same bodies in another order may block each other; one of them is told to try again.
DEADLOCK_ATTEMPTS_MAX = 3
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


class Row(NamedTuple):
    """One row of the inbox, in the order of `INSERT`."""

    source_id: str
    tenant_id: TenantId | None
    channel: str
    verdict: Verdict
    lane: str
    trace_id: str
    dedupe_key: bytes
    body_bytes: int
    body_sealed: bytes | None
    body_wrapped_key: bytes
    body_blob: str | None


@dataclass(slots=True)
class _Waiting:
    """A row and whoever waits for it. `stored` gives whether the row is new; None where that is not known."""

    row: Row
    stored: asyncio.Future[bool | None]


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
        if isinstance(body, SealedBlob):
            stored = (body.sha256, body.size_bytes, None, body.wrapped_key, body.name)
        else:
            sealed = self._sealer.seal(body, context=body_context(source_id))
            stored = (hashlib.sha256(body).digest(), len(body), sealed.ciphertext, sealed.wrapped_key, None)
        waiting = _Waiting(
            Row(source_id, tenant_id, channel, verdict, lane, trace_id, *stored), self._loop.create_future()
        )
        self._queue.append(waiting)
        self._arrived.set()
        return await waiting.stored

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
            row = self._queue[0].row
            if batch and (row.body_blob is not None or batch_bytes + row.body_bytes > BATCH_BYTES_MAX):
                break
            batch_bytes += row.body_bytes
            batch.append(self._queue.popleft())
            if row.body_blob is not None:
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
        try:
            inserted = await self._insert([waiting.row for waiting in batch])
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeError) as error:
            if len(batch) == 1:
                log.exception("body_refused_by_database", source_id=batch[0].row.source_id)
                _fail(batch[0], NotDurable(f"the database refuses this body: {type(error).__name__}"))
                return
            middle = len(batch) // 2
            await self._store(batch[:middle])
            await self._store(batch[middle:])
            return
        ACCEPT_BATCH_ROWS.observe(len(batch))
        is_new = inserted == 1 if len(batch) == 1 else None
        for waiting in batch:
            if not waiting.stored.done():
                waiting.stored.set_result(is_new)
        self._ring()

    async def _insert(self, rows: Sequence[Row]) -> int:
        """Commit the rows; gives how many of them were new."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        attempts_left = DEADLOCK_ATTEMPTS_MAX
        while True:
            attempts_left -= 1
            try:
                async with edge_tx(self._database, commit="accept") as connection:
                    cursor = await connection.execute(INSERT, columns)
            except DatabaseUnavailable as error:
                if attempts_left == 0 or not isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
                    raise
            else:
                return cursor.rowcount


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
