import unicodedata

import pytest

from models.offline.stopwords import matter_of, stopwords


@pytest.mark.parametrize(
    ("text", "matter"),
    [
        ("kya main UPI se donate kar sakta hoon?", "UPI donate"),
        ("What's the address of your office?", "address office?"),
        ("मुझे रसीद कैसे मिलेगी?", "रसीद"),
        ("உங்கள் யுபிஐ ஐடி என்ன?", "யுபிஐ ஐடி"),
        ("+91 11 4000 0107", "+91 11 4000 0107"),
    ],
)
def test_what_is_left_of_a_text_is_its_matter(text: str, matter: str) -> None:
    assert matter_of(text) == matter


@pytest.mark.parametrize("text", ["what is it", "kya hai?", "", "?"])
def test_a_text_of_nothing_else_stays_as_it_is(text: str) -> None:
    assert matter_of(text) == text


def test_no_stopword_mixes_scripts() -> None:
    mixed = [
        word
        for word in stopwords()
        if len({unicodedata.name(letter).split()[0] for letter in word if letter.isalpha()}) > 1
    ]
    assert mixed == []
