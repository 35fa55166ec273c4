from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.policy import JITTER_SHARE_MAX, RETRY_DELAY_S_MAX, Facts, judge, retry_delay_s

REPLY = Facts(is_sign_of_reading=False, by_run=True, owner="agent", account_stopped=False, stale=False, run_over=False)
SIGN = replace(REPLY, is_sign_of_reading=True)


@pytest.mark.parametrize("owner", ["agent", "awaiting_person"])
def test_a_reply_leaves_while_no_person_has_come(owner: str) -> None:
    assert judge(replace(REPLY, owner=owner)).verdict == "send"


def test_a_reply_of_the_agent_is_dropped_once_a_person_owns_the_conversation() -> None:
    judgement = judge(replace(REPLY, owner="person"))
    assert (judgement.verdict, judgement.reason) == ("drop", "a person has taken the conversation over")


def test_a_persons_own_message_leaves_although_a_person_owns_the_conversation() -> None:
    assert judge(replace(REPLY, owner="person", by_run=False)).verdict == "send"


def test_nothing_is_sent_into_a_conversation_that_is_gone() -> None:
    assert judge(replace(REPLY, owner=None)).verdict == "drop"


def test_a_message_of_a_stopped_account_waits() -> None:
    assert judge(replace(REPLY, account_stopped=True)).verdict == "wait"


@pytest.mark.parametrize("late", [{"stale": True}, {"run_over": True}])
def test_a_sign_of_reading_that_comes_too_late_is_dropped(late: dict[str, bool]) -> None:
    assert judge(replace(SIGN, **late)).verdict == "drop"
    assert judge(replace(REPLY, **late)).verdict == "send"


def test_retries_wait_four_times_longer_each_time() -> None:
    waits = [retry_delay_s(attempts=attempts, retry_after_s=None, jitter=0) for attempts in range(1, 8)]
    assert waits == [1, 4, 16, 64, 256, RETRY_DELAY_S_MAX, RETRY_DELAY_S_MAX]


@given(
    st.integers(1, 8),
    st.none() | st.floats(0, 3600),
    st.floats(0, 1, exclude_max=True),
)
def test_what_the_provider_asked_for_is_honoured(attempts: int, asked_s: float | None, jitter: float) -> None:
    delay_s = retry_delay_s(attempts=attempts, retry_after_s=asked_s, jitter=jitter)
    assert delay_s >= (asked_s or 0)
    assert delay_s <= max(asked_s or 0, RETRY_DELAY_S_MAX) * (1 + JITTER_SHARE_MAX)
