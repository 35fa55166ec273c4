import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import models.offline.lexicon
from models.offline.lexicon import asks, signal_of, tells, wants, words


@pytest.mark.parametrize(
    ("text", "signal"),
    [
        ("hi", "greeting"),
        ("Hiiii there!", "greeting"),
        ("Good morning sir", "greeting"),
        ("How are you?", "greeting"),
        ("नमस्ते", "greeting"),
        ("வணக்கம்", "greeting"),
        ("Thanks a lot!", "thanks"),
        ("ok thank you", "thanks"),
        ("धन्यवाद जी", "thanks"),
        ("நன்றி", "thanks"),
        ("🙏", "thanks"),
        ("ok 👍", "acknowledgement"),
        ("🎉", "acknowledgement"),
        ("…", "acknowledgement"),
        ("STOP", "stop"),
        ("बंद करो", "stop"),
        ("நிறுத்து", "stop"),
        ("START", "start"),
        ("agent", "person"),
        ("Can I talk to someone?", "person"),
        ("I want to speak to a real person please", "person"),
        ("मुझे किसी व्यक्ति से बात करनी है", "person"),
        ("I will go to the police", "police"),
        ("I’ll file an FIR against you", "police"),
        ("you will hear from my lawyer", "legal"),
        ("तुम लोग धोखेबाज़ हो, यह धोखा है", "fraud"),
        ("Is this a scam?", "fraud"),
        ("I want to kill myself", "self_harm"),
        ("தற்கொலை", "self_harm"),
    ],
)
def test_what_is_plain_is_recognised(text: str, signal: str) -> None:
    assert signal_of(text) == signal


@pytest.mark.parametrize(
    "text",
    [
        "Can I get a tax receipt for my donation?",
        "hi, can I get a receipt?",
        "Stop sending me e-mails every day",
        "Do I need police verification to volunteer?",
        "How old can the police certificate be?",
        "How do I become an agent of change?",
        "What is the meaning of life?",
        "do you need a representative of my company to sign?",
        "is it good for you",
        "ok but when does the receipt come",
        "When does the office start",
    ],
)
def test_what_takes_reading_is_left_to_a_model(text: str) -> None:
    assert signal_of(text) is None


@pytest.mark.parametrize(
    "text",
    ["Where is it", "and can I come?", "upi id?", "UPI se donate kaise kare", "रसीद कब आएगी", "நன்கொடை அனுப்பலாமா"],
)
def test_a_question_is_known_by_its_mark_its_beginning_or_its_words(text: str) -> None:
    assert asks(text)


@pytest.mark.parametrize(
    "text", ["I want to volunteer", "my payment failed", "still no receipt", "mujhe rasid chahiye", "ரசீது வேண்டும்"]
)
def test_a_wish_or_a_trouble_wants_something_without_asking(text: str) -> None:
    assert wants(text)
    assert not asks(text)
    assert not tells(text)


@pytest.mark.parametrize("text", ["I gave 500 rupees last week", "paid by gpay", "maine kal bheja", "मैंने 500 रुपये दिए"])
def test_a_statement_only_tells(text: str) -> None:
    assert tells(text)


@pytest.mark.parametrize("text", ["tax receipt", "upi id", "I gave 500, can I get a receipt?", "I did not get it"])
def test_what_names_or_asks_or_wants_something_does_more_than_tell(text: str) -> None:
    assert not tells(text)


def test_nothing_says_nothing() -> None:
    assert signal_of("") is None
    assert signal_of(" \n") is None


def test_a_joiner_inside_a_word_does_not_hide_it() -> None:
    assert words("धन्य\u200dवाद") == words("धन्यवाद")


def test_no_word_of_the_lists_mixes_scripts() -> None:
    """A Tamil word with one Devanagari letter looks right and never matches."""
    text = Path(models.offline.lexicon.__file__).with_name("lexicon.yaml").read_text(encoding="utf-8")
    mixed = [
        word
        for word in text.replace(r"\S*", "").split()
        if len({unicodedata.name(letter).split()[0] for letter in word if letter.isalpha()}) > 1
    ]
    assert mixed == []


@given(st.text(max_size=300))
def test_any_text_is_read_without_error(text: str) -> None:
    signal_of(text)
