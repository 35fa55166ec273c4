"""How much a request may send: what is longer is refused while it arrives, and never held in memory whole."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fastapi import HTTPException

#: Of a request to an API of ours; webhooks have limits of their own.
BODY_BYTES_MAX = 1024 * 1024

Message: TypeAlias = MutableMapping[str, Any]  # Any: ASGI's own
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


class BodyLimit:
    """Middleware: a body of more than `bytes_max` is answered with 413 by whoever reads it."""

    def __init__(self, app: App, *, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        left = self._bytes_max

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, f"the body has more than {self._bytes_max} bytes; send less at a time")
            return message

        await self._app(scope, receive_some if scope["type"] == "http" else receive, send)
