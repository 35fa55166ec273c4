"""The sentences that are our own, and how a message is put together from a decision."""

import string
import unicodedata
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import graphs.emit
from agents.decisions import GroundedAnswer, OfferedChoice, TurnDecision
from graphs.emit import TEXT_CHARACTERS_MAX, effects_of, is_offer, phrase
from graphs.state import ConversationState
from tests.graphs.turns import a_turn

CATALOGUE: dict[str, dict[str, str]] = yaml.safe_load(graphs.emit._PHRASES.read_text(encoding="utf-8"))


def a_state(**fields: Any) -> ConversationState:
    return cast("ConversationState", a_turn("hello", recalled=None, **fields) | {"messages": []})


def an_answer(text: str, title: str = "Receipts") -> GroundedAnswer:
    return GroundedAnswer(question="?", text=text, article_id="receipts", chunk_id=1, title=title, quote=text[:20])


def a_decision(**fields: Any) -> TurnDecision:
    made: dict[str, Any] = {
        "action": "answer", "answers": [], "choices": [], "hand_off": None, "unanswered": [], "language": "en",
    }  # fmt: skip
    return TurnDecision(**(made | fields))


def text_of(decision: TurnDecision, **fields: Any) -> str:
    effects = effects_of(decision, a_state(**fields))
    return str(effects[0]["message"]["text"]) if effects and effects[0]["kind"] == "send" else ""


def test_every_language_has_every_phrase_with_the_same_places_to_fill() -> None:
    def places(sentence: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(sentence) if name}

    english = {key: places(sentence) for key, sentence in CATALOGUE["en"].items()}
    for language, phrases in CATALOGUE.items():
        assert {key: places(sentence) for key, sentence in phrases.items()} == english, language


def test_no_phrase_mixes_scripts_within_a_word() -> None:
    words = [word for phrases in CATALOGUE.values() for sentence in phrases.values() for word in sentence.split()]
    mixed = [
        word for word in words if len({unicodedata.name(letter).split()[0] for letter in word if letter.isalpha()}) > 1
    ]
    assert mixed == []


def test_a_language_without_phrases_speaks_english() -> None:
    assert phrase("thank", "kn") == "You are welcome."


def test_a_choice_is_numbered_and_recognised_as_ours() -> None:
    choices = [OfferedChoice(article_id=title, chunk_id=1, title=title) for title in ("Receipts", "Refunds")]
    text = text_of(a_decision(action="clarify", choices=choices))
    assert text == "Which of these do you mean? Please reply with the number.\n1. Receipts\n2. Refunds"
    assert is_offer(text)
    assert not is_offer("1. Receipts\n2. Refunds")


def test_what_does_not_fit_is_left_out_with_its_citation() -> None:
    answers = [an_answer(f"{letter} sentence. " * 45 + "Last.", title=letter) for letter in "ABC"]
    [effect] = effects_of(a_decision(answers=answers), a_state(channel="instagram"))
    assert effect["kind"] == "send"
    assert len(effect["message"]["text"]) <= 1000
    assert [citation["title"] for citation in effect["citations"]] == ["A", "B"]
    assert effect["message"]["text"].endswith("B sentence.\n\nSource: B")


@pytest.mark.parametrize("language", ["en", "hi", "ta", "kn"])
def test_a_hand_off_is_said_in_the_persons_language(language: str) -> None:
    text = text_of(a_decision(action="hand_off", hand_off="not_in_knowledge", language=language))
    assert text == phrase("hand_off", language)


def test_nothing_to_say_is_no_message() -> None:
    assert effects_of(a_decision(action="silent"), a_state()) == []


@given(
    st.lists(st.text(alphabet=st.sampled_from("ab c.\n"), min_size=1, max_size=900), max_size=6),
    st.sampled_from([*TEXT_CHARACTERS_MAX, "mail"]), st.booleans(),
)  # fmt: skip
def test_no_message_is_longer_than_its_channel_allows(texts: list[str], channel: str, open_rest: bool) -> None:
    decision = a_decision(
        answers=[an_answer(text) for text in texts], hand_off="not_in_knowledge" if open_rest else None
    )
    assert len(text_of(decision, channel=channel)) <= TEXT_CHARACTERS_MAX.get(channel, 4000)
