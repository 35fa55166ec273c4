"""A TCP proxy that fails on demand: it delays, resets, cuts off, falls silent and refuses.

It knows nothing of what passes through it. What it does to connections is what networks do: bytes come late or not at
all, and never changed or in another order.
"""

import asyncio
import socket
import struct
from contextlib import suppress

HOST = "127.0.0.1"
PIECE_BYTES_MAX = 64 * 1024
#: SO_LINGER on with no time: what closes says RST, not FIN.
ABORTIVE = struct.pack("ii", 1, 0)


class FaultProxy:
    """Stands before one port of 127.0.0.1. Use `open` before and `close` after."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0
        self._bytes_left: int | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    async def open(self) -> None:
        """Listen, at the same port as before if it listened before."""
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and break every connection off."""
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.reset()

    async def slow(self, delay_ms: float, *, for_s: float) -> None:
        """Delay each piece of bytes, in both directions, for a while."""
        self._delay_s = delay_ms / 1000
        await asyncio.sleep(for_s)
        self._delay_s = 0.0

    def reset(self) -> None:
        """Break every connection off, as a router that restarts does."""
        for writer in list(self._writers):
            abort(writer)

    def cut(self, after_bytes: int) -> None:
        """Break every connection off once so many more bytes have passed; the piece that holds the last is cut."""
        self._bytes_left = after_bytes

    async def silence(self, for_s: float) -> None:
        """Let no byte pass for a while; what was sent meanwhile arrives afterwards."""
        self._flowing.clear()
        await asyncio.sleep(for_s)
        self._flowing.set()

    async def refuse(self, for_s: float) -> None:
        """Refuse connections, and break those off that there are, for a while."""
        assert self._server is not None
        self._server.close()
        self.reset()
        await asyncio.sleep(for_s)
        await self.open()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self._upstream_port)
        except OSError:
            abort(writer)
            return
        ours = {writer, upstream_writer}
        self._writers |= ours
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, upstream_writer))
                pumps.create_task(self._pump(upstream_reader, writer))
        finally:
            self._writers -= ours
            for end in ours:
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes until one side closes; whatever way that happens, the other side closes too."""
        with suppress(OSError):
            while piece := await reader.read(PIECE_BYTES_MAX):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._flowing.wait()
                writer.write(self._up_to_the_cut(piece))
                await writer.drain()
                if self._bytes_left == 0:
                    self._bytes_left = None
                    await asyncio.sleep(0)  # what stands before the cut leaves
                    self.reset()
        with suppress(OSError):
            if writer.can_write_eof():
                writer.write_eof()

    def _up_to_the_cut(self, piece: bytes) -> bytes:
        if self._bytes_left is None:
            return piece
        passed = piece[: self._bytes_left]
        self._bytes_left -= len(passed)
        return passed


def abort(writer: asyncio.StreamWriter) -> None:
    """Break one connection off: its other end is told that it was reset."""
    transport = writer.transport
    with suppress(OSError, AttributeError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORTIVE)
    transport.abort()
