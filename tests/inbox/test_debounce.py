from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.events import Identity, MessageReceived, Person
from channels.registry import CHANNELS, channel
from inbox.debounce import (
    LONG_CHARACTERS_MIN,
    PIECES_MAX,
    QUIET_MS_MAX,
    QUIET_MS_MIN,
    QUIET_MULTIPLE_MAX,
    Ending,
    ending_of,
    quiet_base_ms,
    quiet_ms,
)

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
SOMEONE = Person(identities=(Identity(kind="wa_id", value="919800000001"),))

bases_ms = st.integers(0, 60_000)
endings = st.sampled_from(get_args(Ending))
moments = st.lists(
    st.integers(0, 600_000).map(lambda ms: NOON + timedelta(milliseconds=ms)), max_size=PIECES_MAX + 3
)  # fmt: skip


def a_message(text: str | None = None, *, kind: str = "text", **fields: Any) -> MessageReceived:
    return MessageReceived.model_validate(
        {"event_key": "m", "provider_message_id": "m", "sender": SOMEONE, "message_kind": kind, "text": text} | fields
    )


def said_s(*seconds: float) -> list[datetime]:
    return [NOON + timedelta(seconds=second) for second in seconds]


@pytest.mark.parametrize(
    "text",
    [
        "Can I get a tax receipt for my donation?",
        "I gave 500 rupees yesterday.",
        "मेरी रसीद कब आएगी।",
        "آپ کا دفتر کہاں ہے؟",
        "When? 🙏🏽",
        'They said "no receipt."',
        "Thanks!",
        "??",
        "I would like to know more about " + "your work with children " * (LONG_CHARACTERS_MIN // 20),
    ],
)
def test_an_end_mark_or_a_long_text_reads_as_finished(text: str) -> None:
    assert ending_of(a_message(text)) == "finished"


@pytest.mark.parametrize(
    "text",
    [
        "hello", "Hii", "Hello!", "Namaste ji 🙏", "नमस्ते", "வணக்கம்.", "Good morning, Sir.", "Dear team,",
        "my donation", "about the receipt", "and then...", "I was thinking that maybe we could…",
    ],
)  # fmt: skip
def test_a_greeting_a_few_words_and_what_trails_off_read_as_a_fragment(text: str) -> None:
    assert ending_of(a_message(text)) == "fragment"


@pytest.mark.parametrize("text", ["I want to know about the tax receipt", "रसीद के बारे में जानना है", "👍", "🙏🏽"])
def test_a_sentence_without_an_end_mark_and_a_bare_emoji_may_be_either(text: str) -> None:
    assert ending_of(a_message(text)) == "open"


@pytest.mark.parametrize(
    ("message", "ending"),
    [
        (a_message("Yes", kind="interactive", payload="yes"), "finished"),
        (a_message("Donate", kind="interactive"), "finished"),
        (a_message("Start", kind="postback", payload="start"), "finished"),
        (a_message(kind="image"), "fragment"),
        (a_message("  ", kind="document"), "fragment"),
        (a_message("Is this the right form?", kind="image"), "finished"),
        (a_message(kind="audio"), "open"),
        (a_message(kind="sticker"), "open"),
        (a_message(kind="location"), "open"),
    ],
)
def test_what_is_chosen_is_finished_and_a_bare_picture_waits_for_its_question(
    message: MessageReceived, ending: Ending
) -> None:
    assert ending_of(message) == ending


@given(text=st.text(max_size=300), kind=st.sampled_from(["text", "image", "interactive", "audio"]))
def test_any_text_reads_in_one_of_the_three_ways_and_always_the_same(text: str, kind: str) -> None:
    first = ending_of(a_message(text, kind=kind))
    assert first in get_args(Ending)
    assert ending_of(a_message(text, kind=kind)) == first


@given(base_ms=bases_ms, ending=endings, said_at=moments, data=st.data())
def test_the_wait_is_bounded_and_does_not_depend_on_the_order_of_the_pieces(
    base_ms: int, ending: Ending, said_at: list[datetime], data: st.DataObject
) -> None:
    wait_ms = quiet_ms(base_ms, ending, said_at)
    assert min(base_ms, QUIET_MS_MIN) <= wait_ms <= min(base_ms * QUIET_MULTIPLE_MAX, QUIET_MS_MAX)
    assert quiet_ms(base_ms, ending, data.draw(st.permutations(said_at))) == wait_ms


@given(ending=endings, said_at=moments)
def test_no_debounce_stays_no_debounce(ending: Ending, said_at: list[datetime]) -> None:
    assert quiet_ms(0, ending, said_at) == 0


@given(base_ms=bases_ms, more_ms=bases_ms, ending=endings, said_at=moments)
def test_a_longer_quiet_time_of_the_account_never_shortens_the_wait(
    base_ms: int, more_ms: int, ending: Ending, said_at: list[datetime]
) -> None:
    assert quiet_ms(base_ms, ending, said_at) <= quiet_ms(base_ms + more_ms, ending, said_at)


@given(base_ms=bases_ms, said_at=moments)
def test_what_is_finished_never_waits_longer_than_what_is_not(base_ms: int, said_at: list[datetime]) -> None:
    finished, either, fragment = (quiet_ms(base_ms, ending, said_at) for ending in ("finished", "open", "fragment"))
    assert finished <= either <= fragment


@given(base_ms=bases_ms, ending=endings, said_at=moments)
def test_pauses_only_ever_lengthen_the_wait(base_ms: int, ending: Ending, said_at: list[datetime]) -> None:
    assert quiet_ms(base_ms, ending, said_at) >= quiet_ms(base_ms, ending)


def test_who_writes_in_pieces_is_given_a_bit_more_than_their_last_pauses() -> None:
    assert quiet_ms(1000, "open") == 1000
    assert quiet_ms(1000, "open", said_s(0, 2, 3)) == 2500
    assert quiet_ms(1000, "fragment", said_s(0, 1.2)) == 2000
    assert quiet_ms(1000, "open", said_s(0, 3.9, 4, 5, 6.5)) == 1875


def test_a_pause_that_no_wait_could_have_bridged_says_nothing() -> None:
    assert quiet_ms(1000, "open", said_s(0, 60)) == 1000
    assert quiet_ms(1000, "open", said_s(0, 60, 62)) == 2500


def test_the_accounts_own_quiet_time_comes_before_its_channels_and_that_before_the_processs() -> None:
    assert quiet_base_ms(of_account=250, of_channel=0, default=600) == 250
    assert quiet_base_ms(of_account=0, of_channel=900, default=600) == 0
    assert quiet_base_ms(of_account=None, of_channel=0, default=600) == 0
    assert quiet_base_ms(of_account=None, of_channel=None, default=600) == 600


def test_every_channel_declares_a_quiet_time_that_an_account_may_have_and_chat_leaves_it_to_the_process() -> None:
    assert channel("whatsapp").debounce_ms is None
    assert all(one.debounce_ms is None or 0 <= one.debounce_ms <= QUIET_MS_MAX for one in CHANNELS.values())
