"""A proxy that cuts connections in the middle of an answer, as a deploy or a bad network does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass(slots=True)
class Cuts:
    """What went through, and after what an answer is cut."""

    #: Bytes that an answer is cut behind, each once, in this order.
    after: list[bytes]
    url: str = ""
    requests: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def cutting(port: int, *after: bytes) -> AsyncGenerator[Cuts]:
    """A proxy before the server on this port."""
    cuts = Cuts(list(after))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)

        async def forward() -> None:
            while data := await reader.read(65_536):
                first_line = data.split(b"\r\n", 1)[0].decode()
                if first_line.endswith("HTTP/1.1"):
                    last_event = [line for line in data.decode().splitlines() if line.lower().startswith("last-event")]
                    cuts.requests.append(" ".join([first_line.removesuffix(" HTTP/1.1"), *last_event]))
                upstream_writer.write(data)

        forwarding = asyncio.create_task(forward())
        answered = b""
        while data := await upstream_reader.read(65_536):
            answered += data
            if cuts.after and cuts.after[0] in answered:
                place = answered.index(cuts.after[0]) + len(cuts.after.pop(0))
                writer.write(data[: len(data) - (len(answered) - place)])
                await writer.drain()
                break
            writer.write(data)
        forwarding.cancel()
        for closing in (writer, upstream_writer):
            with suppress(ConnectionError):
                closing.close()
                await closing.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        cuts.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield cuts
