"""How long after Postgres is back a webhook is stored again.

Two things are asked again and again from when it went away: Postgres itself, whether it takes a connection; and the
webhook door, with a body that it has stored before, which it can only answer 200 by asking Postgres.
"""

import asyncio
import time
from dataclasses import dataclass

import psycopg

from bench.chaos.poster import Answer, Poster
from bench.whatsapp_bodies import signed_headers

ASK_EVERY_S = 0.02
PATIENCE_S = 60.0
CONNECT_S = 2


@dataclass(frozen=True, slots=True)
class Return:
    """One return of Postgres. `stored_after_s` counts from when Postgres itself answered again."""

    away_s: float
    stored_after_s: float
    #: Answers of the door while Postgres was away: 503, unless nobody asked at the right moment.
    refused: int
    #: Whether something else than 503 came: the server itself was away as well, so that the figure says nothing.
    disturbed: bool


async def watch_return(poster: Poster, body: bytes, database_url: str) -> Return | None:
    """Watch one return, from right after it went away; None where it did not end in time."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S):
            back = asyncio.create_task(_back(database_url))
            answers = await _until_stored(poster, body, back)
            back_at = await back
    except TimeoutError:
        return None
    return Return(
        away_s=back_at - began,
        stored_after_s=max(answers[-1].at - back_at, 0.0),
        refused=sum(answer.unavailable for answer in answers),
        disturbed=not all(answer.stored or answer.unavailable for answer in answers),
    )


async def _until_stored(poster: Poster, body: bytes, back: asyncio.Task[float]) -> list[Answer]:
    """The answers until the first 200 that came after Postgres was back, which is the last of them."""
    headers = signed_headers(body, app_secret=poster.app_secret)
    answers: list[Answer] = []
    while True:
        answers.append(await poster.once(body, headers))
        if answers[-1].stored and back.done():
            return answers
        await asyncio.sleep(ASK_EVERY_S)


async def _back(database_url: str) -> float:
    """When Postgres answered again. Right after the kill its last connections may still answer; a new one may not."""
    went_away = False
    began = time.monotonic()
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(database_url, connect_timeout=CONNECT_S)
        except psycopg.OperationalError:
            went_away = True
        else:
            await connection.close()
            if went_away or time.monotonic() - began > CONNECT_S:
                return time.monotonic()
        await asyncio.sleep(ASK_EVERY_S)
