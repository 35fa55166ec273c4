"""Cursor pages: `{"items": […], "next_cursor": …}`. A cursor is opaque to the caller and checked when it comes back.

A cursor holds the place of the last item, not a number of items, so a page neither repeats nor skips what is inserted
meanwhile.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import RequestInvalid

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
CURSOR_LENGTH_MAX = 512

Item = TypeVar("Item")
Position = TypeVar("Position", bound="CursorPosition")

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most")]
Cursor = Annotated[
    str | None,
    Query(max_length=CURSOR_LENGTH_MAX, description="`next_cursor` of the page before; none asks for the first page"),
]


class Page(BaseModel, Generic[Item]):
    """Some items, and where the next ones begin."""

    items: list[Item]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last page")


class CursorPosition(BaseModel):
    """The place of one item in a listing. Each listing has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def encode_cursor(position: CursorPosition) -> str:
    """The cursor that stands for this place."""
    return base64.urlsafe_b64encode(position.model_dump_json().encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type[Position]) -> Position | None:
    """The place that a cursor of this listing stands for; None for the first page.

    Raises:
        RequestInvalid: it is no cursor of this listing.
    """
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return kind.model_validate_json(base64.b64decode(padded, altchars=b"-_", validate=True), strict=False)
    except (UnicodeEncodeError, binascii.Error, ValidationError):
        raise RequestInvalid(
            f"cursor: {cursor[:64]!r} is no cursor of this listing; use a page's next_cursor"
        ) from None


def page_of(found: Sequence[Item], *, limit: int, positions: Sequence[CursorPosition]) -> Page[Item]:
    """A page of up to `limit` items out of those found, where one more than `limit` was asked for.

    `positions` are the places of the items found, in the same order.
    """
    more = len(found) > limit
    return Page[Item](items=list(found[:limit]), next_cursor=encode_cursor(positions[limit - 1]) if more else None)
