import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from core.errors import RequestInvalid
from rest.pages import CursorPosition, decode_cursor, encode_cursor, page_of


class Place(CursorPosition):
    number: int = Field(ge=0, lt=2**63)
    name: str


@given(number=st.integers(0, 2**63 - 1), name=st.text())
def test_a_cursor_stands_for_its_place(number: int, name: str) -> None:
    place = Place(number=number, name=name)
    assert decode_cursor(encode_cursor(place), Place) == place


def test_no_cursor_asks_for_the_first_page() -> None:
    assert decode_cursor(None, Place) is None


@given(cursor=st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode())))
def test_what_is_no_cursor_is_refused_and_never_an_error_of_ours(cursor: str) -> None:
    with pytest.raises(RequestInvalid, match="cursor"):
        decode_cursor(cursor, Place)


@pytest.mark.parametrize(
    "inside",
    [
        '{"number":-1,"name":""}',
        '{"number":9223372036854775808,"name":""}',
        '{"number":1}',
        '{"number":1,"name":"","x":1}',
        "[]",
        "null",
    ],
)
def test_a_cursor_with_a_place_that_cannot_be_is_refused(inside: str) -> None:
    with pytest.raises(RequestInvalid):
        decode_cursor(base64.urlsafe_b64encode(inside.encode()).decode(), Place)


@given(count=st.integers(0, 20), limit=st.integers(1, 10))
def test_pages_hold_every_item_once(count: int, limit: int) -> None:
    items = list(range(count))
    seen: list[int] = []
    after = -1
    while True:
        found = [item for item in items if item > after][: limit + 1]
        page = page_of(found, limit=limit, positions=[Place(number=item, name="") for item in found])
        seen.extend(page.items)
        place = decode_cursor(page.next_cursor, Place)
        if place is None:
            break
        after = place.number
    assert seen == items
