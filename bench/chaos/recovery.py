"""How long strangers waited for their answers after something had died.

Only of those is it asked whose calls the provider took at once: whoever waits because the provider was busy, or because
nobody knew whether it took the call, says nothing about what had died.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.chaos.bodies import message_id
from bench.chaos.evidence import Evidence
from bench.chaos.judge import SPOKEN
from bench.chaos.killer import Killed
from bench.chaos.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Answered:
    """One question: when it was first posted, and when the provider took its answer. Monotonic seconds."""

    posted_at: float
    answered_at: float


#: How a call goes that does not hold the answer up.
PROMPT = ("none", "answer_late")


def answered(schedule: Schedule, evidence: Evidence, posted_at: Mapping[int, float]) -> list[Answered]:
    """The questions that were answered and that the provider did not hold up. `posted_at` is by event."""
    first_send: dict[str, float] = {}
    for send in evidence.sends:
        first_send.setdefault(send.key, send.at)
    key_of_run = {effect["run_id"]: effect["key"] for effect in evidence.effects if effect["kind"] == "send"}
    sent_at: dict[str, float] = {}
    for run in evidence.runs:
        at = first_send.get(key_of_run.get(run["id"], ""))
        if run["outcome"] in SPOKEN and at is not None:
            sent_at |= dict.fromkeys(run["trigger"], at)
    held_up = {number for number, calls in enumerate(schedule.calls) if any(call.fault not in PROMPT for call in calls)}
    event_of = {
        message_id(schedule.seed, number): number
        for number, event in enumerate(schedule.events)
        if event.conversation not in held_up
    }
    return [
        Answered(posted_at[event_of[row["provider_message_id"]]], sent_at[row["id"]])
        for row in evidence.messages
        if row["id"] in sent_at and event_of.get(row["provider_message_id"], -1) in posted_at
    ]


def waits_s(killed: Killed, questions: Sequence[Answered]) -> list[float]:
    """From one kill to the answer of each question that was open then, the next one first."""
    return sorted(one.answered_at - killed.at for one in questions if one.posted_at < killed.at < one.answered_at)


def next_answers_s(killed: Sequence[Killed], questions: Sequence[Answered]) -> dict[str, list[float]]:
    """By what was killed: from each kill to the next answer of a question that was open then."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in killed:
        if waits := waits_s(one, questions):
            found[one.kill.target].append(waits[0])
    return found


def open_answers_s(killed: Sequence[Killed], questions: Sequence[Answered]) -> list[float]:
    """From each kill to the answer of every question that was open then."""
    return [wait for one in killed for wait in waits_s(one, questions)]


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """The median and the 99th of a hundred."""
    if len(seconds) < 2:
        return {"p50": None, "p99": None} if not seconds else {"p50": round(seconds[0], 3), "p99": round(seconds[0], 3)}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}
