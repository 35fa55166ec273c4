"""What a run came to, as the JSON object that is printed last."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from bench.chaos.drive import Course, Driver
from bench.chaos.evidence import Evidence
from bench.chaos.judge import Verdict
from bench.chaos.recovery import Answered, answered, next_answers_s, open_answers_s, percentiles, waits_s

Json: TypeAlias = dict[str, Any]  # Any: JSON

#: Without a manual step, a webhook must be stored again this soon after Postgres is back.
POSTGRES_RETURN_S_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Report:
    """Figures, and what was wrong."""

    figures: Json
    violations: list[str]
    #: When what was killed, in seconds from the beginning.
    course: list[Json]

    @property
    def ok(self) -> bool:
        """Whether everything held, the time within which Postgres is used again included."""
        returned_s = self.figures["postgres_return_s"]["max"]
        return not self.violations and (returned_s is None or returned_s < POSTGRES_RETURN_S_MAX)

    def as_json(self) -> Json:
        """What is printed."""
        return {"bench": "chaos", **self.figures, "violations": self.violations, "ok": self.ok}


def report_of(driver: Driver, course: Course, verdict: Verdict, evidence: Evidence, *, processors: int) -> Report:
    """Put it together."""
    schedule = driver.schedule
    for kind, count in course.left.items():
        verdict.wrong(f"{count} {kind} were still to be done when patience ended")
    questions = answered(schedule, evidence, driver.posted_at())
    by_target = next_answers_s(course.killed, questions)
    judged = asdict(verdict)
    violations: list[str] = judged.pop("violations")
    figures: Json = {
        "seed": schedule.seed,
        "seconds": schedule.seconds,
        "rate_per_s": schedule.rate_per_s,
        "processors": processors,
        "kills": dict(Counter(one.kill.target for one in course.killed)),
        "kills_missed": len(course.missed),
        "disturbances": dict(Counter(f"{one.server}_{one.fault}" for one in schedule.disturbances)),
        "webhook_answers": dict(driver.poster.answers),
        "provider_calls": dict(driver.provider.faults),
        "provider_calls_repeated_by_key": driver.provider.repeated_keys,
        **judged,
        "questions_timed": len(questions),
        "recovery_s": percentiles([wait for waits in by_target.values() for wait in waits]),
        "recovery_s_by_target": {target: percentiles(waits) for target, waits in sorted(by_target.items())},
        "open_questions_answered_s": percentiles(open_answers_s(course.killed, questions)),
        "postgres_return_s": _returns(course),
        "settled_s": round(course.settled_s, 1),
    }
    return Report(figures, violations, _course(course, questions))


def _returns(course: Course) -> Json:
    told = [returned for returned in course.returns if not returned.disturbed]
    stored_s = [returned.stored_after_s for returned in told]
    return {
        "count": len(told),
        **percentiles(stored_s),
        "max": round(max(stored_s), 3) if stored_s else None,
        "away_max": round(max(returned.away_s for returned in told), 3) if told else None,
        "answered_503_while_away": sum(returned.refused for returned in told),
    }


def _course(course: Course, questions: Sequence[Answered]) -> list[Json]:
    """What died when, and how long those waited whose questions were open then."""
    began = min((one.at - one.kill.at_ms / 1000 for one in course.killed), default=0.0)
    return [
        {
            "at_s": round(one.at - began, 2),
            "target": one.kill.target,
            "pid": one.pid,
            "for_ms": one.kill.for_ms,
            "answers_after_s": [round(wait, 2) for wait in waits_s(one, questions)],
        }
        for one in course.killed
    ]
