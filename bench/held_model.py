"""A stand-in for a language model, in Gemini's wire format, that can keep one call waiting until its caller is gone.

Every call is answered with the same triage decision, at once. It knows nothing of what it is asked.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress

MODEL = "google_genai:gemini-2.5-flash"
#: A courtesy needs no second call, so that a turn is one call long.
DECISION = {"route": "thank", "reason": "thanks", "language": "en"}
REPLY = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"functionCall": {"name": "TriageDecision", "args": DECISION}}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120},
    "modelVersion": "gemini-2.5-flash",
}


class HeldModel:
    """Answers calls, but for one that it was told to hold."""

    def __init__(self) -> None:
        self.port = 0
        #: When it was last called, monotonic.
        self.called_ns = 0
        self._held: asyncio.Future[int] | None = None

    def environment(self) -> Mapping[str, str]:
        """The settings by which a process of the product asks this model."""
        return {
            "CHOWK_MODEL": MODEL,
            "GOOGLE_API_KEY": "bench",
            "GOOGLE_GEMINI_BASE_URL": f"http://127.0.0.1:{self.port}",
        }

    def hold_next(self) -> asyncio.Future[int]:
        """Answer the next call never; gives the caller's port as soon as it has called."""
        self._held = asyncio.get_running_loop().create_future()
        return self._held

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of one connection, one after the other, until it is closed."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await _read_call(reader)
                self.called_ns = time.monotonic_ns()
                if self._held is not None:
                    self._held.set_result(writer.get_extra_info("peername")[1])
                    self._held = None
                    await reader.read()
                    break
                body = json.dumps(REPLY).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def held_model() -> AsyncGenerator[HeldModel, None]:
    """Serve it on a free port of this machine."""
    model = HeldModel()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.port = server.sockets[0].getsockname()[1]
    try:
        yield model
    finally:
        server.close()


async def _read_call(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
