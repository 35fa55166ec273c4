"""The words of ASGI, and the answers of the webhook edge, made once so that no request pays for them.

asgi.readthedocs.io/en/latest/specs/www.html
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, TypeAlias

from core.errors import ChowkError, Overloaded, Unauthenticated

#: Any: a message of ASGI holds what its `type` says.
Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Start and body of one answer. Shared by requests: never changed.
Answer: TypeAlias = tuple[Message, Message]

RETRY_AFTER_S = 1


def plain_answer(status: int, text: str) -> Answer:
    """An answer in plain text. What a stranger's query put into it must not be taken for anything else."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    return _answer(status, text.encode(), headers)


def refusal(error: ChowkError) -> Answer:
    """What a sender is told of an error: its status and code. The rest helps whoever probes, and is for our log."""
    problem = {"type": "about:blank", "title": HTTPStatus(error.status).phrase, "status": error.status}
    headers = [(b"content-type", b"application/problem+json")]
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Signature"))
    if error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append((b"allow", b"GET, POST"))
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = error.retry_after_s if isinstance(error, Overloaded) else RETRY_AFTER_S
        headers.append((b"retry-after", str(wait_s).encode()))
    return _answer(error.status, json.dumps(problem | {"code": error.code}).encode(), headers)


def _answer(status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> Answer:
    length = (b"content-length", str(len(body)).encode())
    start: Message = {"type": "http.response.start", "status": status, "headers": [length, *headers]}
    return start, {"type": "http.response.body", "body": body}


#: Accepted, now or before.
ACCEPTED: Answer = _answer(HTTPStatus.OK, b"", [])
