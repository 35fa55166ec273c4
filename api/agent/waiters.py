"""Callers who wait, and the responses that they get: long ones, of which a process bears only so many."""

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import aclosing, contextmanager
from types import FrameType
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from core.errors import Overloaded

#: Callers of one process that may wait at the same time.
WAITERS_MAX = 100


class CutOff(Exception):
    """A body cannot be ended now. Raised by a body: the answer is cut, and the client asks for it at its `Location`."""


class Waiters:
    """Who waits in this process. When it is asked to stop, they are cut off, and their clients join elsewhere.

    Otherwise the server would let them wait until its patience is over, and then end the process in the middle of
    other requests too.
    """

    def __init__(self) -> None:
        self.count = 0
        self.stopping = False
        self._heed_stop()

    def check(self) -> None:
        """See that there is room for one more. Call it before anything is done for who would wait.

        Raises:
            Overloaded: so many callers wait in this process.
        """
        if self.count >= WAITERS_MAX:
            raise Overloaded(f"{WAITERS_MAX} callers wait for runs here already; try again in a moment")

    @contextmanager
    def one_more(self) -> Generator[None, None, None]:
        """Count a caller in."""
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    def _heed_stop(self) -> None:
        """Hear of the signal at which the server stops, beside the server."""
        before = signal.getsignal(signal.SIGTERM)

        def heed(number: int, frame: FrameType | None) -> None:
            self.stopping = True
            if callable(before):
                before(number, frame)

        # Only a server has a handler to stand beside; only the main thread may set one.
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, heed)


class WaitingResponse(StreamingResponse):
    """A response whose body takes as long as a run. The body gives an empty part whenever there is nothing to say.

    A caller who hung up is noticed between two parts and not by cancelling: a connection to the database that is
    cancelled in the middle of a statement is lost.
    """

    def __init__(
        self, body: AsyncGenerator[bytes, None], waiters: Waiters, *, headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(body, headers={"cache-control": "no-store", **headers}, media_type=media_type)
        self._body, self._waiters = body, waiters

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, until the body has ended, the caller hangs up or the server stops."""
        with self._waiters.one_more():
            hung_up = asyncio.create_task(self.listen_for_disconnect(receive))
            try:
                await self._answer(send, hung_up)
            finally:
                hung_up.cancel()

    async def _answer(self, send: Send, hung_up: asyncio.Task[None]) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._body) as body:
            try:
                async for part in body:
                    if hung_up.done() or self._waiters.stopping:
                        return
                    if part:
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            except CutOff:
                return
        # Without this the server hangs up, so that nobody takes what came for the whole.
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _waiters(request: Request) -> Waiters:
    state = request.app.state
    if not hasattr(state, "agent_waiters"):
        state.agent_waiters = Waiters()
    waiters = state.agent_waiters
    assert isinstance(waiters, Waiters)
    return waiters


#: Who waits in this process.
ProcessWaiters = Annotated[Waiters, Depends(_waiters)]
