"""Who calls the Graph API, and with what: the version in the path, the bearer token, the JSON body."""

import re

import orjson
from fastapi import Request

from sandbox.emulator.config import Business
from sandbox.emulator.graph_errors import GraphError, no_such_object, token_invalid, too_long
from sandbox.emulator.state import Emulator

BODY_BYTES_MAX = 1024 * 1024

_VERSION = re.compile(r"v\d{1,2}\.\d")


def businesses_of_caller(emulator: Emulator, request: Request, version: str) -> list[Business]:
    """The businesses that the caller's token speaks for.

    Raises:
        GraphError: the version is none (2500), or the token is not known (190).
    """
    if not _VERSION.fullmatch(version):
        raise unknown_path(request)
    businesses = emulator.businesses_of(bearer(request))
    if not businesses:
        raise token_invalid()
    return businesses


def called_business(emulator: Emulator, request: Request, version: str, phone_number_id: str) -> Business:
    """The business of the number in the path, if the caller's token speaks for it.

    Raises:
        GraphError: as for `businesses_of_caller`, or the number is not the token's (100, subcode 33).
    """
    for business in businesses_of_caller(emulator, request, version):
        if business.phone_number_id == phone_number_id:
            return business
    raise no_such_object(request.method.lower(), phone_number_id)


def bearer(request: Request) -> str:
    """The access token of a call: in the header, or as Graph also takes it, in the query; "" where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.query_params.get("access_token", "")


async def json_body(request: Request) -> dict[str, object]:
    """The body of a call.

    Raises:
        GraphError: it is too long or no JSON object (100).
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise too_long("body", BODY_BYTES_MAX)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise GraphError("(#100) Invalid parameter", code=100, details=f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise GraphError("(#100) Invalid parameter", code=100, details="the body is not a JSON object")
    return value


def unknown_path(request: Request) -> GraphError:
    """The path is of nothing that the Graph API has."""
    return GraphError(f"Unknown path components: {request.url.path}", code=2500)
