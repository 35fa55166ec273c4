"""Large bodies: sealed piece by piece while they come in, and opened again for splitting.

A blob is a sequence of frames, each a length and an AES-256-GCM ciphertext. The nonce counts the frames and marks the
last one, so frames can be neither reordered nor cut off; every blob has a data key of its own, so no nonce is used
twice. The wrapped key stands in the inbox row: without it the blob is noise.
"""

import hashlib
import struct
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.crypto import Sealed, Sealer
from core.errors import Broken
from core.ids import new_id
from core.settings import StorageSettings, load
from inbox.blob_store import Blobs, Upload, open_blobs

#: Bodies above this are not kept in the row.
INLINE_BYTES_MAX = 256 * 1024
#: How much plain text is gathered before it is sealed; keeps many tiny chunks from becoming many frames.
FRAME_BYTES_MIN = 64 * 1024
#: The folder of what the webhook edge took in.
INBOX_FOLDER = "inbox"

_LENGTH = struct.Struct(">I")
_NONCE = struct.Struct(">QI")


def body_context(source_id: str) -> str:
    """What a body of this account or app is sealed for."""
    return f"inbox:{source_id}"


class SealedBlob(NamedTuple):
    """A body that lies durably in the blob store."""

    name: str
    wrapped_key: bytes
    sha256: bytes
    size_bytes: int


class SealedUpload:
    """A body on its way into the blob store. `write` it, then `finish` or `abort`."""

    def __init__(self, upload: Upload, sealer: Sealer, *, context: str) -> None:
        """Use `begin_sealed_upload`."""
        self._upload = upload
        data_key, self._wrapped_key = sealer.new_key(context=context)
        self._cipher = AESGCM(data_key)
        self._context = context.encode()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._frames = 0
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Add plain bytes."""
        self._sha256.update(chunk)
        self._size_bytes += len(chunk)
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= FRAME_BYTES_MIN:
            await self._write_frame(last=False)

    async def finish(self) -> SealedBlob:
        """Seal the rest and make the blob durable."""
        await self._write_frame(last=True)
        # Never named for its content: the same body twice has two keys, so it must have two blobs.
        name = f"{INBOX_FOLDER}/{new_id('body')}"
        await self._upload.finish(name)
        return SealedBlob(name, self._wrapped_key, self._sha256.digest(), self._size_bytes)

    async def abort(self) -> None:
        """Leave nothing behind."""
        self._gathered.clear()
        await self._upload.abort()

    async def _write_frame(self, *, last: bool) -> None:
        plain = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        sealed = self._cipher.encrypt(_NONCE.pack(self._frames, last), plain, self._context)
        self._frames += 1
        await self._upload.write(_LENGTH.pack(len(sealed)) + sealed)


async def begin_sealed_upload(blobs: Blobs, sealer: Sealer, *, context: str) -> SealedUpload:
    """Start taking in a large body."""
    return SealedUpload(await blobs.begin(), sealer, context=context)


async def open_body(sealer: Sealer, row: Mapping[str, Any], *, blobs: Blobs | None = None) -> bytes:  # Any: a row
    """The raw body of an inbox row, from its columns source_id, body_sealed, body_wrapped_key and body_blob.

    Raises:
        Broken: it does not open with this CHOWK_SECRET_KEY, or its key was deleted.
        NotFound: its blob is gone.
    """
    context = body_context(row["source_id"])
    if row["body_wrapped_key"] is None:
        raise Broken(f"the body of {row['source_id']} was erased: its key is deleted, its masked text and hash remain")
    if row["body_blob"] is None:
        return sealer.open(Sealed(row["body_sealed"], row["body_wrapped_key"]), context=context)
    framed = await (blobs or blobs_of_process()).read(row["body_blob"])
    return _open_frames(framed, sealer.open_key(row["body_wrapped_key"], context=context), context)


async def delete_body(name: str, *, blobs: Blobs | None = None) -> None:
    """Remove a body's blob; nothing happens where there is none."""
    await (blobs or blobs_of_process()).delete(name)


@cache
def blobs_of_process() -> Blobs:
    """The store that CHOWK_BLOB_URL or CHOWK_HOME names; opened at the first use.

    Raises:
        SettingInvalid: CHOWK_BLOB_URL names no store.
    """
    return open_blobs(load(StorageSettings).blobs())


def _open_frames(framed: bytes, data_key: bytes, context: str) -> bytes:
    cipher = AESGCM(data_key)
    pieces: list[bytes] = []
    position = 0
    view = memoryview(framed)
    try:
        while position < len(framed):
            (length,) = _LENGTH.unpack_from(framed, position)
            start, position = position + _LENGTH.size, position + _LENGTH.size + length
            nonce = _NONCE.pack(len(pieces), position == len(framed))
            pieces.append(cipher.decrypt(nonce, view[start:position], context.encode()))
    except (InvalidTag, struct.error):
        raise Broken(f"a blob for {context!r} does not open at frame {len(pieces)}: altered or cut off") from None
    if not pieces:
        raise Broken(f"a blob for {context!r} is empty: altered or cut off")
    return b"".join(pieces)
