"""Where large sealed bodies lie: a folder of this machine, or an object store.

What `finish` has named survives a power cut. For a folder that is our own doing: obstore's local store renames without
fsync (seen with strace, obstore 0.12.1), so only remote stores go through it.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import ObjectStore, from_url

from core.errors import NotFound, SettingInvalid
from core.ids import new_id

#: Names are ours: no step out of the folder, nothing a store would have to escape.
_NAME = re.compile(r"[a-z0-9_]{1,80}(/[a-z0-9_.-]{1,160}){1,4}")
PARTS_FOLDER = "parts"
OWNER_ONLY = 0o600


class Upload(Protocol):
    """One blob on its way in. Exactly one of `finish` and `abort` ends it."""

    async def write(self, chunk: bytes) -> None:
        """Add bytes."""

    async def finish(self, name: str) -> None:
        """Make it durable under this name. Raises OSError or obstore's errors where that fails."""

    async def abort(self) -> None:
        """Leave nothing behind."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob's name and when it was last written."""

    name: str
    modified_at: datetime


class Blobs(Protocol):
    """A store of blobs by name."""

    async def begin(self) -> Upload:
        """Start an upload."""
        ...

    async def read(self, name: str) -> bytes:
        """The whole blob.

        Raises:
            NotFound: there is none of that name.
        """
        ...

    async def delete(self, name: str) -> None:
        """Remove it; nothing happens where there is none."""

    async def list(self, folder: str) -> Sequence[StoredBlob]:
        """Every blob below the folder, and for `parts` what uploads left when their process was killed."""
        ...


def open_blobs(url: str) -> Blobs:
    """The store at a URL: `file:///var/lib/chowk/blobs`, `s3://bucket/prefix`, `gs://…`, `az://…`, `memory://`.

    Raises:
        SettingInvalid: no store is known by that URL.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBlobs(Path(unquote(parts.path)))
    try:
        return ObjectBlobs(from_url(url))
    except Exception as error:  # obstore raises a class per store here
        raise SettingInvalid(f"CHOWK_BLOB_URL: {url!r} is no store that can be opened: {error}") from error


class LocalBlobs:
    """A folder. An upload is written beside and moved into place, so a blob is whole or absent."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def begin(self) -> "LocalUpload":
        """Start an upload in the folder `parts`."""
        path = self._root / PARTS_FOLDER / new_id("part")
        return LocalUpload(self._root, path, await asyncio.to_thread(_open_part, path))

    async def read(self, name: str) -> bytes:
        """The whole blob."""
        try:
            return await asyncio.to_thread(self._path(name).read_bytes)
        except FileNotFoundError:
            raise NotFound(f"no blob is named {name!r} in {self._root}") from None

    async def delete(self, name: str) -> None:
        """Remove it; nothing happens where there is none."""
        await asyncio.to_thread(self._path(name).unlink, missing_ok=True)

    async def list(self, folder: str) -> Sequence[StoredBlob]:
        """Every file below the folder."""
        return await asyncio.to_thread(self._list, folder)

    def _list(self, folder: str) -> Sequence[StoredBlob]:
        found: list[StoredBlob] = []
        for path in sorted((self._root / folder).rglob("*")):
            try:
                if path.is_file():
                    modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    found.append(StoredBlob(path.relative_to(self._root).as_posix(), modified_at))
            except FileNotFoundError:
                continue  # moved into place or removed while we looked
        return found

    def _path(self, name: str) -> Path:
        return self._root / _checked(name)


class LocalUpload:
    """An upload into a folder of this machine."""

    def __init__(self, root: Path, path: Path, part: BinaryIO) -> None:
        self._root = root
        self._path = path
        self._part = part

    async def write(self, chunk: bytes) -> None:
        """Add bytes."""
        await asyncio.to_thread(self._part.write, chunk)

    async def finish(self, name: str) -> None:
        """Flush to the disk, move into place, flush the folder: in this order, or a power cut leaves half a blob."""
        await asyncio.to_thread(self._finish, self._root / _checked(name))

    async def abort(self) -> None:
        """Remove what was written."""
        await asyncio.to_thread(self._abort)

    def _finish(self, path: Path) -> None:
        self._part.flush()
        os.fsync(self._part.fileno())
        self._part.close()
        _make_folder(path.parent)
        self._path.rename(path)
        _sync_folder(path.parent)

    def _abort(self) -> None:
        self._part.close()
        self._path.unlink(missing_ok=True)


class ObjectBlobs:
    """A remote object store, through obstore. It answers a put only once the object is durable."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def begin(self) -> "ObjectUpload":
        """Start an upload."""
        return ObjectUpload(self._store)

    async def read(self, name: str) -> bytes:
        """The whole blob."""
        try:
            answer = await obstore.get_async(self._store, _checked(name))
        except FileNotFoundError:
            raise NotFound(f"no blob is named {name!r} in the object store") from None
        return bytes(await answer.bytes_async())

    async def delete(self, name: str) -> None:
        """Remove it; nothing happens where there is none."""
        try:
            await obstore.delete_async(self._store, _checked(name))
        except FileNotFoundError:
            return

    async def list(self, folder: str) -> Sequence[StoredBlob]:
        """Every object below the folder."""
        found: list[StoredBlob] = []
        async for batch in obstore.list(self._store, prefix=folder):
            found.extend(StoredBlob(entry["path"], entry["last_modified"]) for entry in batch)
        return found


class ObjectUpload:
    """An upload that is kept until its name is known: a store has no cheap rename, and a refused one leaves nothing."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._chunks: list[bytes] = []

    async def write(self, chunk: bytes) -> None:
        """Add bytes."""
        self._chunks.append(chunk)

    async def finish(self, name: str) -> None:
        """Put it."""
        await obstore.put_async(self._store, _checked(name), self._chunks)

    async def abort(self) -> None:
        """Forget it."""
        self._chunks.clear()


def _checked(name: str) -> str:
    if _NAME.fullmatch(name) is None or ".." in name:
        raise NotFound(f"{name!r} is no name of a blob")
    return name


def _open_part(path: Path) -> BinaryIO:
    _make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    return os.fdopen(descriptor, "wb")


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; each new one is made durable in the one above it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
