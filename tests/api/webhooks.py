"""Signed webhooks, as tests send them, and what became of them."""

import hashlib
import hmac
import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from db.pools import Database
from db.transactions import queue_tx
from tests.api.conftest import RunningApi
from tests.builders import APP_SECRET, Organisation


def path_of(organisation: Organisation) -> str:
    return f"/webhooks/whatsapp/{organisation.account_id}"


def signature_of(body: bytes, secret: bytes = APP_SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def signed(body: bytes, **headers: str) -> dict[str, str]:
    """The headers of a webhook with this body."""
    return {"x-hub-signature-256": signature_of(body), "content-type": "application/json", **headers}


async def rows_of(database: Database, source_id: str) -> list[dict[str, Any]]:
    """What the inbox holds of this account or app."""
    async with queue_tx(database, commit="test") as connection:
        cursor = await connection.execute("SELECT * FROM core.inbox WHERE source_id = %s ORDER BY id", (source_id,))
        return await cursor.fetchall()


async def asgi_post(
    api: RunningApi, path: str, headers: dict[str, str], receive: Callable[[], Awaitable[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """POST with a body that arrives as `receive` says; gives the messages of the answer."""
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(dict(message))

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }  # fmt: skip
    await api.app(scope, receive, send)  # pyright: ignore[reportArgumentType]
    return said


def arriving(*chunks: bytes, then: str = "http.request") -> Callable[[], Awaitable[dict[str, Any]]]:
    """A body in these chunks; afterwards its end, or with `http.disconnect` the sender is gone."""
    messages: Iterable[dict[str, Any]] = itertools.chain(
        ({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks),
        itertools.repeat({"type": then, "body": b"", "more_body": False}),
    )
    iterator = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(iterator)

    return receive
