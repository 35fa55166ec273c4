"""A real server and raw sockets: what only bytes on a wire can show."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import httpx
import pytest

from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from db.pools import Database
from inbox.split import split_due
from tests.api.server import Server, serving
from tests.api.webhooks import path_of, rows_of, signature_of, signed
from tests.builders import Organisation, a_body, a_change, a_number, a_text

MIB = 1024 * 1024


async def raw(server: Server, *pieces: bytes, read_s: float = 20.0) -> bytes:
    """Send bytes as they are and give everything that came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(read_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def head(organisation: Organisation, *lines: str, signature: str = "") -> bytes:
    signature = signature or signature_of(b"{}")
    given = ["POST " + path_of(organisation) + " HTTP/1.1", "Host: x", f"X-Hub-Signature-256: {signature}", *lines]
    return ("\r\n".join([*given, "Connection: close"]) + "\r\n\r\n").encode("latin-1")


async def test_a_webhook_over_the_wire_is_stored(
    server: Server, database: Database, organisation: Organisation
) -> None:
    answer = await raw(server, head(organisation, "Content-Length: 2") + b"{}")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(await rows_of(database, organisation.account_id)) == 1


async def test_a_chunked_body_is_as_good_as_one_with_a_length(
    server: Server, database: Database, organisation: Organisation
) -> None:
    answer = await raw(server, head(organisation, "Transfer-Encoding: chunked"), b"1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(await rows_of(database, organisation.account_id)) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (b"ffffffff\r\n{}\r\n0\r\n\r\n",),
        (b"-1\r\n{}\r\n0\r\n\r\n",),
        (b"zz\r\n{}\r\n0\r\n\r\n",),
        (b"2\r\n{}X\r\n0\r\n\r\n",),
        (b"ffffffffffffffffff\r\n{}",),
    ],
)
async def test_chunks_that_lie_about_their_length_store_nothing(
    server: Server, database: Database, organisation: Organisation, pieces: tuple[bytes, ...]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head(organisation, "Transfer-Encoding: chunked") + b"".join(pieces))
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert not answer.startswith(b"HTTP/1.1 200 ")
    assert await rows_of(database, organisation.account_id) == []


@pytest.mark.parametrize("lines", [("Content-Length: 3", "Content-Length: 2"), ("Content-Length: -2",)])
async def test_lengths_that_contradict_store_nothing(
    server: Server, database: Database, organisation: Organisation, lines: tuple[str, ...]
) -> None:
    answer = await raw(server, head(organisation, *lines) + b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert await rows_of(database, organisation.account_id) == []


async def test_a_body_cut_off_by_its_sender_stores_nothing(
    server: Server, database: Database, organisation: Organisation
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head(organisation, "Content-Length: 100") + b"{}")
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    assert not answer.startswith(b"HTTP/1.1 200 ")
    assert await rows_of(database, organisation.account_id) == []


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_four_megabytes_are_refused(
    server: Server, database: Database, organisation: Organisation, framing: str
) -> None:
    body = b"x" * (4 * MIB)
    lines = f"Content-Length: {len(body)}" if framing == "length" else "Transfer-Encoding: chunked"
    sent = head(organisation, lines, signature=signature_of(body))
    sent += body if framing == "length" else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    answering = asyncio.create_task(reader.readuntil(b"\r\n"))
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            assert await answering == b"HTTP/1.1 413 Payload Too Large\r\n"
    finally:
        writer.close()
    assert await rows_of(database, organisation.account_id) == []
    assert not list(server.home.glob("blobs/**/body_*"))


async def test_three_megabytes_over_the_wire_open_again(
    server: Server, database: Database, organisation: Organisation
) -> None:
    body = b"x" * (3 * MIB)
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{server.url}{path_of(organisation)}", content=body, headers=signed(body))
    assert answer.status_code == 200
    (row,) = await rows_of(database, organisation.account_id)
    assert (server.home / "blobs" / row["body_blob"]).stat().st_size > len(body)


async def test_bytes_in_a_signature_that_are_no_text_are_a_wrong_signature(
    server: Server, organisation: Organisation
) -> None:
    answer = await raw(server, head(organisation, "Content-Length: 2", signature="sha256=\xe9\xff\x80") + b"{}")
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_sixty_four_identical_webhooks_at_once_are_one_row(
    server: Server, database: Database, organisation: Organisation
) -> None:
    answers = await asyncio.gather(*(raw(server, head(organisation, "Content-Length: 2") + b"{}") for _ in range(64)))
    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 200 "}
    assert len(await rows_of(database, organisation.account_id)) == 1


async def test_a_signed_body_that_is_no_json_is_kept_and_becomes_a_dead_letter_beside_a_good_one(
    server: Server, database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    good = a_body([a_change(organisation.phone_number_id, messages=[a_text("Hello", sender=a_number())])])
    bad = [b"{broken", b"\x00", b'{"entry":"\xff"}', b"[" * 5_000 + b"]" * 5_000]
    async with httpx.AsyncClient(timeout=30) as client:
        for body in (*bad, good):
            answer = await client.post(f"{server.url}{path_of(organisation)}", content=body, headers=signed(body))
            assert answer.status_code == 200
    while await split_due(database, sealer, limit=64):
        pass
    states = [row["state"] for row in await rows_of(database, organisation.account_id)]
    assert states == ["dead"] * len(bad) + ["split"]


async def test_what_a_killed_worker_acknowledged_is_stored_and_another_takes_its_place(
    database: Database, organisation: Organisation, tmp_path: Path
) -> None:
    acknowledged: list[bytes] = []
    enough = asyncio.Event()

    async def send(client: httpx.AsyncClient, server: Server, sender: int) -> None:
        for number in range(1_000_000):
            body = b"%d.%d" % (sender, number)
            try:
                answer = await client.post(f"{server.url}{path_of(organisation)}", content=body, headers=signed(body))
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged.append(body)
            if len(acknowledged) == 100:
                enough.set()

    with serving(tmp_path) as server:
        async with httpx.AsyncClient(timeout=20) as client:
            senders = [asyncio.create_task(send(client, server, sender)) for sender in range(8)]
            await enough.wait()
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*senders)
        await asyncio.to_thread(server.until_ready)
        answer = await asyncio.to_thread(
            httpx.post, f"{server.url}{path_of(organisation)}", content=b"after", headers=signed(b"after")
        )
        assert answer.status_code == 200
    stored = {row["dedupe_key"] for row in await rows_of(database, organisation.account_id)}
    assert {hashlib.sha256(body).digest() for body in (*acknowledged, b"after")} <= stored


async def test_an_account_added_while_the_server_runs_is_known_at_once(
    server: Server, admin_url: str, sealer: Sealer, organisation: Organisation
) -> None:
    account_id = add_account(
        admin_url, sealer, tenant_id=organisation.tenant_id, channel="whatsapp", external_id=a_number(), name="new",
        secrets=Secrets((b"new",)),
    )  # fmt: skip
    headers = {"x-hub-signature-256": signature_of(b"{}", b"new")}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{server.url}/webhooks/whatsapp/{account_id}", content=b"{}", headers=headers)
    assert answer.status_code == 200


async def test_several_workers_share_the_port_and_count_together(
    database: Database, organisation: Organisation, tmp_path: Path
) -> None:
    with serving(tmp_path, workers=2) as server:
        assert len(server.workers()) == 2
        for number in range(20):
            body = b"%02d" % number
            answer = await raw(server, head(organisation, "Content-Length: 2", signature=signature_of(body)) + body)
            assert answer.startswith(b"HTTP/1.1 200 ")
        metrics = [await asyncio.to_thread(httpx.get, f"{server.url}/metrics") for _ in range(4)]
    for answer in metrics:
        assert 'chowk_webhooks_total{channel="whatsapp",status="200"} 20.0' in answer.text
        assert answer.text.count('chowk_queue_depth{queue="inbox"}') == 1
    assert len(await rows_of(database, organisation.account_id)) == 20


@pytest.mark.parametrize(("gap", "stored_then"), [("before", 0), ("after", 1)])
async def test_a_worker_killed_around_its_commit_acknowledges_nothing_and_the_webhook_comes_again_as_one_row(
    database: Database, organisation: Organisation, tmp_path: Path, gap: str, stored_then: int
) -> None:
    with serving(tmp_path, CHOWK_FAULT=f"accept.{gap}_commit:2") as server:
        async with httpx.AsyncClient(timeout=20) as client:
            url = f"{server.url}{path_of(organisation)}"
            assert (await client.post(url, content=b"first", headers=signed(b"first"))).status_code == 200
            with pytest.raises(httpx.TransportError):
                await client.post(url, content=b"second", headers=signed(b"second"))
        assert len(await rows_of(database, organisation.account_id)) == 1 + stored_then
        await asyncio.to_thread(server.until_ready)
        answer = await asyncio.to_thread(httpx.post, url, content=b"second", headers=signed(b"second"))
        assert answer.status_code == 200
    digests = [row["dedupe_key"] for row in await rows_of(database, organisation.account_id)]
    assert digests == [hashlib.sha256(body).digest() for body in (b"first", b"second")]
