from typing import Any

import pytest

from models.offline.grounding import (
    FIRST_PARAGRAPH,
    at_home,
    confidence,
    content_words,
    coverage,
    fitness,
    leans_on_earlier,
    likeness,
    speaks_of,
    stem,
)
from tests.models.offline.prompts_for import a_match, a_passage


def test_the_words_that_carry_the_matter_are_kept_as_stems() -> None:
    assert content_words("How do I get the receipts for my donations?") == ["receipt", "donat"]
    assert content_words("kya aap mujhe receipt bhej sakte hain") == ["receipt", "bhej"]
    assert content_words("मुझे रसीद कैसे मिलेगी") == ["रसीद"]


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


def test_two_spellings_of_a_hindi_word_are_one() -> None:
    assert coverage("मुफ्त दवाइयां", "दवाइयाँ मुफ़्त मिलती हैं।") == 1


def test_nearness_and_words_count_alike() -> None:
    assert confidence("?", a_passage(), a_match(similarity=0.8, coverage=0.4)) == pytest.approx(0.6)


RECEIPT: dict[str, Any] = a_passage(title="दान की रसीद", text="रसीद दो दिन में आती है।")


def test_where_the_vector_means_nothing_the_words_of_the_title_and_the_text_count() -> None:
    read = a_match(similarity=0.0, coverage=0.4)
    assert confidence("रसीद", RECEIPT, read) == pytest.approx(0.7)
    assert confidence("रसीद और मौसम", RECEIPT, read) == pytest.approx(0.45)


def test_where_the_vector_means_nothing_a_word_of_the_text_alone_answers_nothing() -> None:
    assert confidence("दो दिन का मौसम", RECEIPT, a_match(similarity=0.0, coverage=0.9)) == 0
    known = a_match(similarity=0.0, coverage=0.5, likeness=0.5)
    assert confidence("कितना समय दो", RECEIPT, known) > 0


def test_letters_of_another_script_are_not_held_against_an_article() -> None:
    asked = a_match(similarity=0.0, coverage=0.2)
    assert confidence("80G रसीद", RECEIPT, asked) == confidence("रसीद", RECEIPT, asked) == pytest.approx(0.6)


def test_the_first_paragraph_of_an_article_is_the_fitter_one() -> None:
    first, later = a_passage(position=0), a_passage(position=3)
    assert fitness(first, a_match(), 0.5) == pytest.approx(fitness(later, a_match(), 0.5) + FIRST_PARAGRAPH)


def test_a_later_paragraph_is_at_home_when_its_title_speaks_of_the_matter() -> None:
    assert at_home("who won the match", a_passage(position=0))
    assert at_home("receipt by post", a_passage(position=2))
    assert not at_home("who won the match", a_passage(position=2))


def test_likeness_is_the_share_of_words_that_two_questions_have_in_common() -> None:
    known = ["How do I file a complaint?", "I want to make a complaint"]
    assert likeness("complaint karna hai", known) == 1
    assert likeness("file my tax return", known) == pytest.approx(2 / 5)
    assert likeness("what is it", known) == 0
    assert likeness("complaint", []) == 0


@pytest.mark.parametrize(
    "text",
    ["How long does it take?", "and for companies?", "What about cash?", "when is that?", "in Lucknow", "by upi"],
)
def test_some_questions_lean_on_the_one_before(text: str) -> None:
    assert leans_on_earlier(text)


@pytest.mark.parametrize(
    "text", ["What is the meaning of life?", "tax receipt?", "Is it true that the office in Pune moved?"]
)
def test_others_stand_by_themselves(text: str) -> None:
    assert not leans_on_earlier(text)


def test_a_leaning_question_that_names_something_else_leans_on_nothing() -> None:
    soon = a_passage(text="The receipt comes in two days.")
    assert speaks_of("how long does it take?", soon, search=0)
    assert speaks_of("and a company?", a_passage(text="A company gets a receipt."), search=0)
    assert not speaks_of("is it raining?", soon, search=0)


def test_what_stands_in_the_known_questions_alone_is_spoken_of_too() -> None:
    whole = a_passage(found_for=[a_match(0, coverage=1.0), a_match(1, coverage=0.2)])
    assert speaks_of("last date?", whole, search=0)
    assert not speaks_of("last date?", whole, search=1)
