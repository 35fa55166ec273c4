"""The provider's own patience: a webhook is posted again and again until it is answered 200."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx

from bench.whatsapp_bodies import signed_headers

RETRY_S = 0.3
TIMEOUT_S = 8.0
#: What a post that found nobody is counted as.
NO_ANSWER = "no answer"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and when it came: monotonic seconds."""

    at: float
    #: None where nobody answered.
    status: int | None

    @property
    def stored(self) -> bool:
        """Whether the body is acknowledged."""
        return self.status == HTTPStatus.OK

    @property
    def unavailable(self) -> bool:
        """Whether the sender was told to try again."""
        return self.status == HTTPStatus.SERVICE_UNAVAILABLE


@dataclass(slots=True)
class Poster:
    """Posts to one webhook URL, signed with one secret."""

    client: httpx.AsyncClient
    #: Known once the stack is ready.
    url: str = ""
    app_secret: str = ""
    #: When a body was first posted, and when it was first acknowledged, by its bytes.
    posted_at: dict[bytes, float] = field(default_factory=dict[bytes, float])
    acknowledged_at: dict[bytes, float] = field(default_factory=dict[bytes, float])
    answers: Counter[str] = field(default_factory=Counter[str])
    #: How many posts are on their way.
    pending: int = 0

    async def post(self, body: bytes) -> None:
        """Post until it is acknowledged."""
        self.pending += 1
        self.posted_at.setdefault(body, time.monotonic())
        headers = signed_headers(body, app_secret=self.app_secret)
        try:
            while True:
                answer = await self.once(body, headers)
                if answer.stored:
                    break
                await asyncio.sleep(RETRY_S)
        finally:
            self.pending -= 1
        self.acknowledged_at.setdefault(body, answer.at)

    async def once(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Post once, with these headers."""
        try:
            status = (await self.client.post(self.url, content=body, headers=headers)).status_code
        except httpx.HTTPError:
            status = None
        self.answers[NO_ANSWER if status is None else str(status)] += 1
        return Answer(time.monotonic(), status)
