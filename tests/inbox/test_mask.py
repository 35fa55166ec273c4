import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.in_ import aadhaar

from inbox.mask import mask

# Made up: it passes the check digit and belongs to nobody who was asked.
NUMBER = "234123412346"


def test_the_sample_number_is_well_formed() -> None:
    assert aadhaar.is_valid(NUMBER)


@pytest.mark.parametrize(
    "text",
    [
        "my aadhaar is 234123412346",
        "Aadhar no: 2341 2341 2346",
        "UID 2341-2341-2346",
        "मेरा आधार 234123412346",
        "2341 2341 2346",
    ],
)
def test_an_aadhaar_number_keeps_only_its_last_four_digits(text: str) -> None:
    masked = mask(text)
    assert "2341" not in masked.text
    assert masked.text.rstrip().endswith("2346")
    assert masked.numbers == (NUMBER,)


@pytest.mark.parametrize(
    "text",
    [
        "call me on 234123412346",
        "UTR 234123412346 paid yesterday",
        "payment ref: 2341 2341 2346",
        "234123412346",
        "aadhaar 234123412347",
        "order 12341234123461",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert mask(text).text == text


@given(st.text())
def test_masking_again_changes_nothing(text: str) -> None:
    once = mask(text).text
    assert mask(once).text == once


@given(st.text(), st.text())
def test_a_named_number_never_survives_whatever_stands_around_it(before: str, after: str) -> None:
    text = f"{before} aadhaar: {NUMBER[:4]} {NUMBER[4:8]} {NUMBER[8:]} {after}"
    assert "2341 2341 2346" not in mask(text).text
