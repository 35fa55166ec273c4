from hypothesis import given
from hypothesis import strategies as st

from models.sentences import collapse, fit, sentences, widen

TEXTS = st.text(alphabet=st.sampled_from("ab .?!\n।रु1"), max_size=60)


def test_abbreviations_and_amounts_do_not_end_a_sentence() -> None:
    text = "Pay Rs. 500 or more, e.g. by UPI. Dr. Rao signs it.\n\n1. Bring your PAN.\n2. Sign here"
    assert sentences(text) == [
        "Pay Rs. 500 or more, e.g. by UPI.",
        "Dr. Rao signs it.",
        "1. Bring your PAN.",
        "2. Sign here",
    ]


def test_a_danda_ends_a_sentence() -> None:
    assert sentences("रसीद मिलती है। पैन दें।") == ["रसीद मिलती है।", "पैन दें।"]


def test_half_a_sentence_is_quoted_whole() -> None:
    text = "Thank you. Donations are not refundable. Ask us."
    assert widen(text, "refundable") == "Donations are not refundable."


def test_a_quotation_across_sentences_keeps_both() -> None:
    text = "One is here.\nTwo is there. Three."
    assert widen(text, "here. Two is") == "One is here.\nTwo is there."


def test_words_that_do_not_stand_there_are_not_a_quotation() -> None:
    assert widen("Receipts come by e-mail.", "Receipts come by post") is None
    assert widen("Receipts come by e-mail.", "  ") is None


def test_what_does_not_fit_is_left_out_sentence_by_sentence() -> None:
    assert fit("One. Two. Three.", 9) == "One. Two."
    assert fit("One. Two.", 3) == ""
    assert fit("One.", 4) == "One."


@given(TEXTS)
def test_sentences_lose_no_words(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())


@given(TEXTS, st.integers(0, 60), st.integers(1, 20))
def test_widening_gives_whole_sentences_that_hold_the_quotation(text: str, start: int, length: int) -> None:
    quote = text[start : start + length]
    widened = widen(text, quote)
    if not quote.strip():
        assert widened is None
    else:
        assert widened is not None
        assert collapse(quote) in collapse(widened)
        assert collapse(widened) in collapse(text)
        assert widen(text, widened) is not None


@given(TEXTS, st.integers(0, 60))
def test_a_fitted_text_is_a_beginning_that_fits(text: str, characters_max: int) -> None:
    fitted = fit(text, characters_max)
    assert len(fitted) <= characters_max
    assert text.startswith(fitted)
