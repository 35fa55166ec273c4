import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory.search_text import search_text

#: Letters of which the hard cases are made.
HARD = st.text(alphabet="0199 +-()./;,:@aBg_।॥\u200d\u200bकि़ँ\nअ٣८é", max_size=60)


@given(st.one_of(st.text(), HARD))
@settings(max_examples=600)
def test_applying_it_twice_changes_nothing_more(text: str) -> None:
    once = search_text(text)
    assert search_text(once) == once


@given(st.one_of(st.text(), HARD))
def test_what_comes_out_is_composed_visible_and_single_spaced(text: str) -> None:
    out = search_text(text)
    assert unicodedata.is_normalized("NFC", out)
    assert not {unicodedata.category(character) for character in out} & {"Cc", "Cf", "Cs"}
    assert " ".join(out.split()) == out.strip()


@given(st.text(alphabet="कखगघ रसीद", max_size=30), st.integers(0, 30))
def test_invisible_characters_make_no_difference(text: str, place: int) -> None:
    assert search_text(text[:place] + "\u200d" + text[place:]) == search_text(text)


@given(st.integers(6_000_000_000, 9_999_999_999), st.sampled_from(["{}{}", "{} {}", "{}-{}", "+91 {} {}", "(0{}) {}"]))
def test_a_telephone_number_is_found_however_it_is_written(number: int, form: str) -> None:
    digits = str(number)
    assert digits in search_text(f"call {form.format(digits[:5], digits[5:])} today").split()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("+91 98000 00001", {"919800000001", "9800000001"}),
        ("98000 00001 98000 00002", {"9800000001", "9800000002"}),
        ("011-4000-0101 or 044 2345 6789", {"01140000101", "04423456789"}),
        ("my 80-G, your 80 G", {"80g"}),
        ("complaint AF-G-2026-00412", {"afg202600412"}),
        ("DON/2024/0031", {"don20240031"}),
        ("under 12A/80G", {"12A", "80G"}),
        ("NEFT/RTGS", {"NEFT", "RTGS"}),
        ("₹10,00,000 or 5,000", {"₹1000000", "5000"}),
        ("ok.thanks", {"ok.", "thanks"}),
        ("८०जी", {"80जी"}),
    ],
)
def test_ids_and_numbers_stand_as_one_token(text: str, tokens: set[str]) -> None:
    assert tokens <= set(search_text(text).split())


def test_a_hindi_word_has_one_spelling() -> None:
    assert search_text("मुफ़्त दवाइयाँ") == search_text("मुफ्त दवाइयां")


def test_a_danda_ends_a_word() -> None:
    assert search_text("रसीद चाहिए।कब") == "रसीद चाहिए. कब"


def test_dates_and_times_are_not_taken_for_telephone_numbers() -> None:
    assert search_text("open 9:30 to 18:00 on 5 May") == "open 9:30 to 18:00 on 5 May"


def test_what_postgres_cannot_store_is_left_out() -> None:
    assert search_text("a\0b \ud83d c") == "a b c"
