import asyncio
from collections.abc import AsyncIterator

import pytest

from bench.chaos.fault_proxy import FaultProxy

SENT = b"0123456789" * 100


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """Before a server that says everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    opened = FaultProxy(server.sockets[0].getsockname()[1])
    await opened.open()
    yield opened
    await opened.close()
    server.close()


async def connect(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def say(proxy: FaultProxy, sent: bytes = SENT) -> bytes:
    reader, writer = await connect(proxy)
    writer.write(sent)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return said


async def until_reset(reader: asyncio.StreamReader) -> bytes:
    said = b""
    try:
        while piece := await reader.read(100):
            said += piece
    except ConnectionResetError:
        return said
    raise AssertionError(f"closed and not reset, after {said!r}")


async def test_what_is_sent_arrives_unchanged(proxy: FaultProxy) -> None:
    assert await say(proxy) == SENT


async def test_a_slow_way_changes_nothing_but_the_time(proxy: FaultProxy) -> None:
    slowing = asyncio.create_task(proxy.slow(20, for_s=0.2))
    await asyncio.sleep(0)
    assert await say(proxy) == SENT
    await slowing


async def test_a_reset_breaks_connections_off_and_new_ones_work(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"1")
    assert await reader.readexactly(1) == b"1"
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
    assert await say(proxy) == SENT


async def test_a_cut_lets_so_many_bytes_pass_and_no_more(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    writer.write(b"12")
    assert await reader.readexactly(2) == b"12"
    proxy.cut(5)
    writer.write(SENT)
    assert len(await until_reset(reader)) <= 5
    writer.close()
    assert await say(proxy) == SENT


async def test_after_a_silence_everything_arrives(proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    silence = asyncio.create_task(proxy.silence(0.2))
    await asyncio.sleep(0)
    writer.write(b"held")
    said = asyncio.create_task(reader.readexactly(4))
    await asyncio.wait([silence, said], return_when=asyncio.FIRST_COMPLETED)
    assert silence.done()
    assert await said == b"held"
    writer.close()


async def test_while_it_refuses_nobody_gets_in_and_afterwards_at_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    refusing = asyncio.create_task(proxy.refuse(0.2))
    await asyncio.sleep(0)
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await refusing
    assert proxy.port == port
    assert await say(proxy) == SENT


async def test_a_server_that_is_away_ends_the_connection() -> None:
    gone = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = gone.sockets[0].getsockname()[1]
    gone.close()
    before = FaultProxy(port)
    await before.open()
    reader, writer = await connect(before)
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    writer.close()
    await before.close()
