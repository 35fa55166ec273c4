"""The JSON of a webhook body: raw bytes in, plain values out that the database, the hash and the models can hold.

What a stranger wrote is scrubbed here, once: U+0000 (which PostgreSQL's text cannot hold) and lone surrogates (which
no UTF-8 can) become U+FFFD. Whole numbers keep every digit, whatever their length.
"""

import hashlib
import json
import re

from pydantic import JsonValue
from pydantic_core import from_json

from core.errors import RequestInvalid

#: Anything that may have to be scrubbed; few bodies have it, and this is quick to see.
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
#: A surrogate pair, which stays, or an escape that stands for no character, which goes. An even run of backslashes
#: before it is text; the one that follows the run begins the escape.
_ESCAPE = re.compile(
    rb"(?<!\\)((?:\\\\)*)"
    rb"(?:(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def read_json(body: bytes) -> JsonValue:
    """Parse a webhook body. At most 200 levels deep; equal bytes always give equal values.

    Raises:
        RequestInvalid: the body is not JSON in UTF-8, or is nested deeper than that.
    """
    try:
        return from_json(_scrub(body), allow_inf_nan=False)
    except ValueError as error:
        raise RequestInvalid(f"the body of {len(body)} bytes is not JSON that can be read: {error}") from None


def fingerprint(value: JsonValue) -> str:
    """SHA-256 of the canonical form, in hex: the same for equal values, whatever the order of their keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def _scrub(body: bytes) -> bytes:
    return _ESCAPE.sub(_scrubbed, body) if _SUSPECT.search(body) else body


def _scrubbed(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[2] else escape[1] + rb"\ufffd"
