import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from core.clock import utc_now
from core.crypto import Sealer
from core.errors import Broken, NotFound, SettingInvalid
from core.ids import new_id
from db.pools import Database
from inbox.accept import open_acceptor
from inbox.blob_store import Blobs, LocalBlobs, ObjectBlobs, open_blobs
from inbox.blobs import SealedBlob, begin_sealed_upload, body_context, delete_body, open_body
from inbox.orphans import delete_orphan_blobs

STORES: dict[str, Callable[[Path], Blobs]] = {
    "folder": lambda folder: LocalBlobs(folder / "blobs"),
    "object store": lambda _folder: ObjectBlobs(MemoryStore()),
}


@pytest.fixture(params=STORES)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return STORES[request.param](tmp_path)


async def upload(blobs: Blobs, sealer: Sealer, source: str, *chunks: bytes) -> SealedBlob:
    sealed = await begin_sealed_upload(blobs, sealer, context=body_context(source))
    for chunk in chunks:
        await sealed.write(chunk)
    return await sealed.finish()


def row_of(blob: SealedBlob, source: str) -> dict[str, object]:
    return {
        "source_id": source, "body_blob": blob.name, "body_wrapped_key": blob.wrapped_key, "body_sealed": None,
    }  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=100_000), max_size=5))
async def test_a_body_in_any_chunks_opens_as_it_came(blobs: Blobs, sealer: Sealer, chunks: list[bytes]) -> None:
    blob = await upload(blobs, sealer, "acc_1", *chunks)
    assert await open_body(sealer, row_of(blob, "acc_1"), blobs=blobs) == b"".join(chunks)
    assert blob.size_bytes == sum(len(chunk) for chunk in chunks)


async def test_a_blob_holds_nothing_that_can_be_read(blobs: Blobs, sealer: Sealer) -> None:
    words = b"a donor's secret " * 20_000
    blob = await upload(blobs, sealer, "acc_1", words)
    assert b"secret" not in await blobs.read(blob.name)


async def test_the_same_body_twice_is_two_blobs_with_keys_of_their_own(blobs: Blobs, sealer: Sealer) -> None:
    first, second = [await upload(blobs, sealer, "acc_1", b"same") for _ in range(2)]
    assert first.name != second.name
    assert first.sha256 == second.sha256
    assert await open_body(sealer, row_of(first, "acc_1"), blobs=blobs) == b"same"
    mixed = row_of(first, "acc_1") | {"body_wrapped_key": second.wrapped_key}
    with pytest.raises(Broken):
        await open_body(sealer, mixed, blobs=blobs)


async def test_a_blob_does_not_open_for_another_source(blobs: Blobs, sealer: Sealer) -> None:
    blob = await upload(blobs, sealer, "acc_1", b"words")
    with pytest.raises(Broken):
        await open_body(sealer, row_of(blob, "acc_2"), blobs=blobs)


@pytest.mark.parametrize("kept", [0, 3, 20, 70_000, -1, -5])
async def test_a_blob_that_was_cut_off_does_not_open(tmp_path: Path, sealer: Sealer, kept: int) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = await upload(blobs, sealer, "acc_1", b"x" * 65_536, b"y" * 65_536, b"z" * 100)
    path = tmp_path / blob.name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(Broken):
        await open_body(sealer, row_of(blob, "acc_1"), blobs=blobs)


async def test_a_blob_without_its_last_frames_does_not_open(tmp_path: Path, sealer: Sealer) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = await upload(blobs, sealer, "acc_1", b"x" * 65_536, b"y" * 65_536, b"z" * 100)
    path = tmp_path / blob.name
    frame_bytes = 4 + 65_536 + 16
    for frames in (1, 2):
        path.write_bytes(path.read_bytes()[: frames * frame_bytes])
        with pytest.raises(Broken):
            await open_body(sealer, row_of(blob, "acc_1"), blobs=blobs)


async def test_an_erased_body_says_so(blobs: Blobs, sealer: Sealer) -> None:
    with pytest.raises(Broken, match="erased"):
        await open_body(sealer, {"source_id": "acc_1", "body_wrapped_key": None}, blobs=blobs)


async def test_a_deleted_blob_is_not_found_and_deleting_it_again_is_nothing(blobs: Blobs, sealer: Sealer) -> None:
    blob = await upload(blobs, sealer, "acc_1", b"words")
    await delete_body(blob.name, blobs=blobs)
    await delete_body(blob.name, blobs=blobs)
    with pytest.raises(NotFound):
        await open_body(sealer, row_of(blob, "acc_1"), blobs=blobs)


async def test_an_upload_that_is_given_up_leaves_nothing(blobs: Blobs, sealer: Sealer) -> None:
    sealed = await begin_sealed_upload(blobs, sealer, context="inbox:acc_1")
    await sealed.write(b"x" * 300_000)
    await sealed.abort()
    assert [*await blobs.list("inbox"), *await blobs.list("parts")] == []


@pytest.mark.parametrize("name", ["../x", "inbox/../../x", "/etc/passwd", "inbox/a b", "inbox", "inbox//x", ""])
async def test_a_name_that_is_not_ours_is_never_a_path(blobs: Blobs, name: str) -> None:
    with pytest.raises(NotFound):
        await blobs.read(name)


async def test_a_stored_body_is_flushed_to_the_disk_before_it_is_named(
    tmp_path: Path, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[str, bool]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        named = bool(list((tmp_path / "inbox").glob("*"))) if (tmp_path / "inbox").exists() else False
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, named))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await upload(LocalBlobs(tmp_path), sealer, "acc_1", b"words")
    parts = [named for name, named in flushed if name.startswith("part_")]
    assert parts == [False]
    assert flushed[-1] == ("inbox", True)


def test_a_url_that_names_no_store_is_refused() -> None:
    with pytest.raises(SettingInvalid, match="CHOWK_BLOB_URL"):
        open_blobs("nothing://here")


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_blobs((tmp_path / "a folder").as_uri()), LocalBlobs)


async def test_blobs_that_no_row_names_are_deleted_once_they_are_old(
    database: Database, sealer: Sealer, blobs: Blobs
) -> None:
    source = new_id("acc")
    kept = await upload(blobs, sealer, source, b"kept")
    orphan = await upload(blobs, sealer, source, b"orphan")
    left = await blobs.begin()
    await left.write(b"left by a process that was killed")
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:
        await acceptor.accept(
            kept, source_id=source, tenant_id=None, channel="whatsapp", verdict="signed", trace_id="0" * 32
        )
    assert await delete_orphan_blobs(database, now=utc_now(), blobs=blobs) == 0
    later = utc_now() + timedelta(hours=2)
    assert await delete_orphan_blobs(database, now=later, blobs=blobs) == (2 if isinstance(blobs, LocalBlobs) else 1)
    assert [blob.name for blob in await blobs.list("inbox")] == [kept.name]
    assert await blobs.list("parts") == []
    with pytest.raises(NotFound):
        await blobs.read(orphan.name)
    await left.abort()


async def test_uploads_at_once_do_not_meet(blobs: Blobs, sealer: Sealer) -> None:
    bodies = [bytes([number]) * 100_000 for number in range(20)]
    stored = await asyncio.gather(*(upload(blobs, sealer, "acc_1", body) for body in bodies))
    opened = [await open_body(sealer, row_of(blob, "acc_1"), blobs=blobs) for blob in stored]
    assert opened == bodies
