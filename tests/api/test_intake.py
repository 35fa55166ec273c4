"""Bodies: their limits, how they come, and where they lie."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.crypto import Sealer
from core.ids import new_id
from db.pools import Database
from inbox.blob_store import LocalBlobs
from inbox.blobs import INLINE_BYTES_MAX, open_body
from tests.api.conftest import RunningApi, running
from tests.api.webhooks import arriving, asgi_post, path_of, rows_of, signature_of, signed
from tests.builders import Organisation

MIB = 1024 * 1024


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP", ""])
async def test_a_compressed_body_is_refused(
    api: RunningApi, database: Database, organisation: Organisation, encoding: str
) -> None:
    said = await asgi_post(api, path_of(organisation), signed(b"{}", **{"content-encoding": encoding}), arriving(b"{}"))
    assert said[0]["status"] == 415
    assert await rows_of(database, organisation.account_id) == []


async def test_a_declared_length_over_the_limit_is_refused_unread(api: RunningApi, organisation: Organisation) -> None:
    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    headers = signed(b"", **{"content-length": str(3 * MIB + 1)})
    said = await asgi_post(api, path_of(organisation), headers, receive)
    assert said[0]["status"] == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "", "0x10", "\xb2"])
async def test_a_declared_length_that_is_no_number_is_refused(
    api: RunningApi, organisation: Organisation, length: str
) -> None:
    headers = signed(b"{}", **{"content-length": length})
    said = await asgi_post(api, path_of(organisation), headers, arriving(b"{}"))
    assert said[0]["status"] == 400


async def test_an_endless_body_is_read_no_further_than_the_limit(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 64 * 1024
        return {"type": "http.request", "body": b"x" * 64 * 1024, "more_body": True}

    said = await asgi_post(api, path_of(organisation), signed(b""), receive)
    assert said[0]["status"] == 413
    assert read <= 3 * MIB + 64 * 1024
    assert await rows_of(database, organisation.account_id) == []
    assert files_in(api.blobs) == []


async def test_a_body_that_does_not_come_is_given_up(
    api: RunningApi, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.intake.READ_S", 0.05)
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        raise AssertionError

    said = await asgi_post(api, path_of(organisation), signed(b"{}", **{"content-length": "2"}), receive)
    assert said[0]["status"] == 408


@pytest.mark.parametrize("came", [b"", b"{", b"x" * 400_000])
async def test_a_sender_that_leaves_in_the_middle_is_not_answered_and_nothing_is_kept(
    api: RunningApi, database: Database, organisation: Organisation, came: bytes
) -> None:
    receive = arriving(came, then="http.disconnect")
    said = await asgi_post(api, path_of(organisation), signed(b"{}", **{"content-length": "500000"}), receive)
    assert said == []
    assert await rows_of(database, organisation.account_id) == []
    assert files_in(api.blobs) == []


async def test_a_body_shorter_than_its_declared_length_is_refused(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    said = await asgi_post(api, path_of(organisation), signed(b"{}", **{"content-length": "10"}), arriving(b"{}"))
    assert said[0]["status"] == 400
    assert await rows_of(database, organisation.account_id) == []


async def test_a_large_body_goes_sealed_to_the_blob_store_and_opens_again(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    body = b'{"text":"%s"}' % (b"long " * 100_000)
    for _ in range(2):
        answer = await api.client.post(path_of(organisation), content=body, headers=signed(body))
        assert answer.status_code == 200
    (row,) = await rows_of(database, organisation.account_id)
    assert (row["body_sealed"], row["body_bytes"]) == (None, len(body))
    assert await open_body(sealer, row, blobs=LocalBlobs(api.blobs)) == body
    (blob,) = files_in(api.blobs)
    assert b"long long" not in blob.read_bytes()


@pytest.mark.parametrize("over", [-1, 0, 1])
async def test_bodies_around_the_limit_of_a_row_are_whole(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, over: int
) -> None:
    body = b"x" * (INLINE_BYTES_MAX + over)
    assert (await api.client.post(path_of(organisation), content=body, headers=signed(body))).status_code == 200
    (row,) = await rows_of(database, organisation.account_id)
    assert await open_body(sealer, row, blobs=LocalBlobs(api.blobs)) == body
    assert (row["body_blob"] is not None) == (over > 0)


async def test_a_large_body_with_a_wrong_signature_leaves_no_blob(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    headers = {"x-hub-signature-256": signature_of(b"another")}
    answer = await api.client.post(path_of(organisation), content=b"x" * MIB, headers=headers)
    assert answer.status_code == 403
    assert files_in(api.blobs) == []
    assert await rows_of(database, organisation.account_id) == []


async def test_a_blob_store_that_cannot_be_written_is_not_durable(
    database: Database, sealer: Sealer, organisation: Organisation, tmp_path: Path
) -> None:
    (tmp_path / "parts").write_text("a file in the way of the folder")
    async with running(database, sealer, tmp_path) as api:
        body = b"x" * MIB
        answer = await api.client.post(path_of(organisation), content=body, headers=signed(body))
        assert answer.status_code == 503
        small = await api.client.post(path_of(organisation), content=b"{}", headers=signed(b"{}"))
        assert small.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe\x00",
        b'{"text":"nul \\u0000 and \x00"}',
        b'{"text":"\\ud800 lone"}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"id":' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "broken", "words", "not utf-8", "nul", "surrogate", "deep list", "deep object", "huge number"],
)
async def test_whatever_is_signed_is_stored_unread(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, body: bytes
) -> None:
    answer = await api.client.post(path_of(organisation), content=body, headers=signed(body))
    assert answer.status_code == 200
    (row,) = await rows_of(database, organisation.account_id)
    assert await open_body(sealer, row, blobs=LocalBlobs(api.blobs)) == body


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.lists(st.binary(max_size=2_000), max_size=8), declare=st.booleans())
async def test_however_a_body_is_cut_it_is_the_same_body(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation, chunks: list[bytes], declare: bool
) -> None:
    body = new_id("body").encode() + b"".join(chunks)
    headers = signed(body, **({"content-length": str(len(body))} if declare else {}))
    pieces = [body[:31], *chunks]
    said = await asgi_post(api, path_of(organisation), headers, arriving(*pieces))
    assert said[0]["status"] == 200
    assert await open_body(sealer, (await rows_of(database, organisation.account_id))[-1]) == body
