import unicodedata

import pytest

from models.offline.grounding import confidence, content_words, coverage, leans_on_earlier, speaks_of, stem, stopwords


def test_the_words_that_carry_the_matter_are_kept_as_stems() -> None:
    assert content_words("How do I get the receipts for my donations?") == ["receipt", "donat"]
    assert content_words("kya aap mujhe receipt bhej sakte hain") == ["receipt", "bhej", "sakt"]
    assert content_words("मुझे रसीद कैसे मिलेगी") == ["रसीद", "मिलेग"]


def test_coverage_is_the_share_of_the_matter_that_is_spoken_of() -> None:
    assert coverage("tax receipt", "You get a tax receipt.") == 1
    assert coverage("tax receipt in London", "You get a tax receipt.") == pytest.approx(2 / 3)
    assert coverage("how do I do it", "Anything") == 0


@pytest.mark.parametrize("slip", ["reciept", "recept", "receeipt", "receipr"])
def test_a_word_with_one_slip_is_still_that_word(slip: str) -> None:
    assert coverage(slip, "You get a receipt.") == 1


@pytest.mark.parametrize("other", ["recipe", "deceit", "rate", "recital"])
def test_another_word_is_another_word(other: str) -> None:
    assert coverage(other, "You get a receipt.") == 0


def test_a_case_ending_does_not_hide_an_indian_noun() -> None:
    assert stem("முகாமில்") == stem("முகாமுக்கு")


def test_nearness_and_words_count_alike_and_words_alone_where_the_vector_means_nothing() -> None:
    passage = {"title": "रसीद", "text": "दान की रसीद मिलती है।"}
    assert confidence("?", passage, {"similarity": 0.8, "coverage": 0.4}) == pytest.approx(0.6)
    assert confidence("रसीद", passage, {"similarity": 0.0, "coverage": 0.4}) == pytest.approx(0.7)


@pytest.mark.parametrize("text", ["How long does it take?", "and for companies?", "What about cash?", "when is that?"])
def test_some_questions_lean_on_the_one_before(text: str) -> None:
    assert leans_on_earlier(text)


@pytest.mark.parametrize(
    "text", ["What is the meaning of life?", "tax receipt?", "Is it true that the office in Pune moved?"]
)
def test_others_stand_by_themselves(text: str) -> None:
    assert not leans_on_earlier(text)


def test_a_leaning_question_that_names_something_else_leans_on_nothing() -> None:
    assert speaks_of("how long does it take?", "The receipt comes in two days.")
    assert speaks_of("and for companies?", "A company gets a receipt.") is speaks_of("and a company?", "A company.")
    assert not speaks_of("is it raining?", "The receipt comes in two days.")


def test_no_stopword_mixes_scripts() -> None:
    mixed = [
        word
        for word in stopwords()
        if len({unicodedata.name(letter).split()[0] for letter in word if letter.isalpha()}) > 1
    ]
    assert mixed == []
