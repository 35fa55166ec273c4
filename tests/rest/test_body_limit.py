from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from rest.body_limit import BodyLimit
from rest.problems import install_problems

BYTES_MAX = 1000
JSON = {"content-type": "application/json"}


class Thing(BaseModel):
    """What the application of these tests takes."""

    words: str


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()

    @app.post("/things")
    async def make(thing: Thing) -> int:
        return len(thing.words)

    app.add_middleware(BodyLimit, bytes_max=BYTES_MAX)
    install_problems(app)
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType]  # ours is ASGI too
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=JSON) as opened:
        yield opened


def of_length(length: int) -> bytes:
    return b'{"words": "%s"}' % (b"x" * (length - len(b'{"words": ""}')))


async def test_a_body_of_the_limit_is_taken(client: httpx.AsyncClient) -> None:
    assert (await client.post("/things", content=of_length(BYTES_MAX))).status_code == 200


async def test_a_longer_one_is_refused_as_a_problem(client: httpx.AsyncClient) -> None:
    answer = await client.post("/things", content=of_length(BYTES_MAX + 1))
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert "1000 bytes" in answer.json()["detail"]


async def test_one_that_never_ends_is_refused_too(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 100

    answer = await client.post("/things", content=endless())
    assert answer.status_code == 413
    assert sent <= BYTES_MAX / 100 + 2
