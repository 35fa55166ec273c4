"""Takes in one webhook body: within its limits, checked as it streams by, large ones sealed straight to the blob store.

Nothing is parsed here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from obstore.exceptions import BaseError

from api.asgi import Receive
from api.endpoints import Endpoint
from channels.protocol import SignatureCheck, Verdict
from core.crypto import Sealer
from core.errors import BodyTooLarge, NotDurable, Overloaded, RequestInvalid
from inbox.blob_store import Blobs
from inbox.blobs import INLINE_BYTES_MAX, SealedBlob, SealedUpload, begin_sealed_upload, body_context

#: A body must be here within this, and longer only if it comes at least this fast.
READ_S = 5.0
READ_BYTES_PER_S_MIN = 1024 * 1024


class ReadTooSlow(RequestInvalid):
    """The body did not arrive in time."""

    status = 408


class EncodingRefused(RequestInvalid):
    """The body is compressed; what is signed must be what came."""

    status = 415


class SenderGone(RequestInvalid):
    """The connection ended before the body did. There is nobody left to answer."""


class Intake:
    """Takes bodies in for one process, and counts the bytes that it holds."""

    def __init__(self, sealer: Sealer, blobs: Blobs, *, inflight_bytes_max: int) -> None:
        self._sealer = sealer
        self._blobs = blobs
        self._inflight_bytes = 0
        self._inflight_bytes_max = inflight_bytes_max

    def reserve(self, size_bytes: int) -> None:
        """Count bytes as held; `release` them when the request is answered.

        Raises:
            Overloaded: the process would hold more than it may.
        """
        if self._inflight_bytes + size_bytes > self._inflight_bytes_max:
            raise Overloaded(f"{self._inflight_bytes} bytes of webhooks are in flight; try again")
        self._inflight_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """Count bytes as gone."""
        self._inflight_bytes -= size_bytes

    async def take(
        self, endpoint: Endpoint, headers: Mapping[str, bytes], *, declared_bytes: int | None, receive: Receive
    ) -> tuple[bytes | SealedBlob, Verdict]:
        """Read and check one body; a refused one leaves nothing behind.

        Raises:
            SignatureMissing, SignatureWrong: it is not its provider's.
            BodyTooLarge, ReadTooSlow, SenderGone: it did not come as it should.
            NotDurable: it is large and could not be stored.
        """
        check = endpoint.receiver.signature_check(headers, endpoint.source.secrets)
        bytes_max = endpoint.receiver.body_bytes_max
        reading = _Reading(self._begin_upload, check, endpoint.source.id, bytes_max=bytes_max)
        expected_bytes = bytes_max if declared_bytes is None else declared_bytes
        try:
            async with asyncio.timeout(READ_S + expected_bytes / READ_BYTES_PER_S_MIN):
                await reading.read(receive, declared_bytes)
            verdict = check.verdict()
            return await reading.finish(), verdict
        except BaseException as error:
            await reading.abort()
            if isinstance(error, TimeoutError):
                raise ReadTooSlow(f"only {reading.size_bytes} bytes of the body came in time") from None
            if isinstance(error, OSError | BaseError):
                raise NotDurable(f"the body could not be put into the blob store: {error}; try again") from error
            raise

    async def discard(self, body: SealedBlob) -> None:
        """Remove the blob of a body that was stored before; where that fails, a sweep finds it."""
        with suppress(OSError, BaseError):
            await self._blobs.delete(body.name)

    async def _begin_upload(self, source_id: str) -> SealedUpload:
        return await begin_sealed_upload(self._blobs, self._sealer, context=body_context(source_id))


class _Reading:
    """One body while it comes in: kept in memory up to a limit, from then on in an upload."""

    __slots__ = ("_begin_upload", "_bytes_max", "_check", "_chunks", "_source_id", "_upload", "size_bytes")

    def __init__(
        self,
        begin_upload: Callable[[str], Awaitable[SealedUpload]],
        check: SignatureCheck,
        source_id: str,
        *,
        bytes_max: int,
    ) -> None:
        self._begin_upload = begin_upload
        self._check = check
        self._source_id = source_id
        self._bytes_max = bytes_max
        self._chunks: list[bytes] = []
        self._upload: SealedUpload | None = None
        self.size_bytes = 0

    async def read(self, receive: Receive, declared_bytes: int | None) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise SenderGone(f"the sender left after {self.size_bytes} bytes")
            chunk: bytes = message.get("body", b"")
            if chunk:
                await self._take(chunk)
            # Once the declared length is here, the message that only says "that was all" need not be awaited.
            if self.size_bytes == declared_bytes:
                return
            if not message.get("more_body", False):
                break
        if declared_bytes is not None:
            raise RequestInvalid(f"the body has {self.size_bytes} bytes, and content-length says {declared_bytes}")

    async def finish(self) -> bytes | SealedBlob:
        if self._upload is not None:
            return await self._upload.finish()
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def abort(self) -> None:
        if self._upload is not None:
            with suppress(OSError):
                await self._upload.abort()

    async def _take(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._bytes_max:
            raise BodyTooLarge(f"the body is over {self._bytes_max} bytes")
        self._check.update(chunk)
        if self._upload is not None:
            await self._upload.write(chunk)
            return
        self._chunks.append(chunk)
        if self.size_bytes > INLINE_BYTES_MAX:
            self._upload = await self._begin_upload(self._source_id)
            for held in self._chunks:
                await self._upload.write(held)
            self._chunks.clear()
