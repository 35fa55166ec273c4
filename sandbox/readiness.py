"""Checks that tell whether a process does its work."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from sandbox.ports import HOST
from sandbox.process import Readiness

ANSWER_S = 2.0


def answers_200(port: int, path: str) -> Readiness:
    """Whether the HTTP server on this port of 127.0.0.1 answers GET `path` with 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def check() -> bool:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(request)
                status_line = await reader.readline()
        except (OSError, TimeoutError, ValueError):  # ValueError: a line without an end is no HTTP
            return False
        finally:
            if writer is not None:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return status_line.split(b" ")[1:2] == [b"200"]

    return check


def has_made(file: Path) -> Readiness:
    """Whether the process has made the file that says it works; see `without`."""

    async def check() -> bool:
        return file.exists()  # noqa: ASYNC240 one stat of a local file

    return check


def without(file: Path) -> Callable[[], Awaitable[None]]:
    """Removes that file before a start, so that it never speaks for an earlier one."""

    async def remove() -> None:
        file.unlink(missing_ok=True)  # noqa: ASYNC240 one unlink of a local file

    return remove
