"""A stand-in for Gemini's API on this machine: it speaks the wire format of `generateContent`, and answers as told."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Answer: TypeAlias = tuple[int, dict[str, Any]]
#: A request's body to status and body.
Script: TypeAlias = Callable[[dict[str, Any]], Answer]


@dataclass
class StandIn:
    """Where it listens and what it was asked."""

    url: str
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)


def a_call(name: str, **arguments: Any) -> Answer:
    return a_reply([{"functionCall": {"name": name, "args": arguments}}])


def a_reply(parts: list[dict[str, Any]], *, finish_reason: str = "STOP") -> Answer:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": finish_reason, "index": 0}
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}
    return 200, {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def an_error(status: int, code: str, message: str) -> Answer:
    return status, {"error": {"code": status, "message": message, "status": code}}


def tools_in(body: dict[str, Any]) -> list[str]:
    """The names of the tools that a request offers."""
    return [function["name"] for tool in body.get("tools", []) for function in tool["functionDeclarations"]]


@asynccontextmanager
async def gemini(script: Script) -> AsyncIterator[StandIn]:
    stand_in = StandIn("")
    open_connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while True:
                await _answer_one(reader, writer, stand_in, script)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        open_connections.add(task)
        task.add_done_callback(open_connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    stand_in.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield stand_in
    finally:
        server.close()
        for task in list(open_connections):
            task.cancel()
        await asyncio.gather(*open_connections, return_exceptions=True)


async def _answer_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stand_in: StandIn, script: Script
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    stand_in.paths.append(head[0].split()[1])
    stand_in.headers.append(headers)
    stand_in.bodies.append(body)
    status, answer = script(body)
    payload = json.dumps(answer).encode()
    writer.write(
        b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (status, len(payload), payload)
    )
    await writer.drain()
