"""What may leave, and when: pure decisions on facts that the caller read. The model has no say here."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["send", "wait", "drop"]

#: A sign of reading that is older than this says nothing any more.
READ_AND_TYPING_AGE_S_MAX = 20.0
#: How often a message is handed to a provider that definitely refuses it for now.
ATTEMPTS_MAX = 8
#: Seconds before the second, third… attempt: 1, 4, 16, 64, … as WhatsApp asks for its limit per pair of numbers.
RETRY_FACTOR = 4.0
RETRY_DELAY_S_MAX = 300.0
#: Jitter only ever adds, so that what a provider asked for is honoured.
JITTER_SHARE_MAX = 0.25
#: How long the provider has to speak of a message by a status before we decide without it.
UNKNOWN_WINDOW_S = 60.0
#: How often a message of class `at_least_once` is sent again although it may have arrived.
RESENDS_MAX = 1


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an effect in the transaction that may begin to send it."""

    is_sign_of_reading: bool
    #: Whether a run of an agent wrote it; a person's own message is not stopped by that person.
    by_run: bool
    #: Who answers in the conversation; None where the conversation is gone.
    owner: str | None
    account_stopped: bool
    #: Older than `READ_AND_TYPING_AGE_S_MAX`.
    stale: bool
    #: The run that wrote it is no longer at work.
    run_over: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and, unless it is `send`, the reason for it."""

    verdict: Verdict
    reason: str = ""


def judge(facts: Facts) -> Judgement:
    """Whether an effect leaves now, waits until its account is started again, or never leaves."""
    if facts.owner is None:
        return Judgement("drop", "the conversation is gone")
    if facts.owner == "person" and (facts.by_run or facts.is_sign_of_reading):
        return Judgement("drop", "a person has taken the conversation over")
    if facts.is_sign_of_reading and (facts.stale or facts.run_over):
        return Judgement("drop", "the sign of reading comes too late")
    if facts.account_stopped:
        return Judgement("wait", "the account is stopped")
    return Judgement("send")


def retry_delay_s(*, attempts: int, retry_after_s: float | None, jitter: float) -> float:
    """How long to wait after the `attempts`-th refusal (from 1). `jitter` is uniform in [0, 1)."""
    own = min(RETRY_FACTOR ** (attempts - 1), RETRY_DELAY_S_MAX)
    return max(own, retry_after_s or 0.0) * (1 + JITTER_SHARE_MAX * jitter)
