import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.binary_arrays import (
    bytea_array,
    bytea_element,
    int4_array,
    int4_element,
    text_array,
    text_element,
)
from db.pools import Database
from db.transactions import edge_tx

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=50)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.none() | TEXT, st.none() | st.binary(max_size=50), st.integers(-(2**31), 2**31 - 1))))
async def test_arrays_arrive_as_they_were(database: Database, rows: list[tuple[str | None, bytes | None, int]]) -> None:
    arrays = (
        text_array(text_element(text) for text, _, _ in rows),
        bytea_array(bytea_element(value) for _, value, _ in rows),
        int4_array(int4_element(number) for _, _, number in rows),
    )
    async with edge_tx(database, commit="test") as connection:
        cursor = await connection.execute("SELECT * FROM unnest(%b::text[], %b::bytea[], %b::int[]) u(a, b, c)", arrays)
        found = [(row["a"], row["b"], row["c"]) for row in await cursor.fetchall()]
    assert found == rows


def test_text_that_no_utf8_can_hold_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        text_element("\ud800")
