"""What an evaluation says at the end: a table for people, JSON for machines, and whether the build may go on."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.case import Case
from evals.scorers import Outcome, Score


@dataclass(frozen=True, slots=True)
class Result:
    """One case and how it was scored."""

    case: Case
    outcome: Outcome
    scores: Sequence[Score]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(score.passed for score in self.scores)

    @property
    def faults(self) -> str:
        """What was wrong, one phrase for each failed check."""
        return "; ".join(f"{score.scorer}: {score.detail}" for score in self.scores if not score.passed)


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run over one engine."""

    engine: str
    prompt_refs: dict[str, str]
    results: Sequence[Result]

    @property
    def passed(self) -> bool:
        """Whether every stable case passed. No results at all is a failure, not a success."""
        return bool(self.results) and all(result.passed for result in self.results if result.case.stable)

    def as_json(self) -> str:
        """The report for machines, one JSON object."""
        return json.dumps(self._plain(), ensure_ascii=False, indent=2)

    def table(self) -> str:
        """The report for people: a line for each case, failed ones with what was wrong."""
        width = max([len(result.case.id) for result in self.results], default=4)
        lines = [f"{_mark(result):<8} {result.case.id:<{width}}  {result.faults}".rstrip() for result in self.results]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """One line: how many passed, and of those that failed how many count."""
        if not self.results:
            return f"no case was run with {self.engine}: an evaluation without results fails"
        counts = Counter(_mark(result) for result in self.results)
        return (
            f"{counts['pass']} of {len(self.results)} passed with {self.engine}; {counts['FAIL']} failed, "
            f"and {counts['unstable']} that are not stable and do not count"
        )

    def _plain(self) -> dict[str, Any]:  # Any: JSON
        return {
            "engine": self.engine,
            "prompt_refs": self.prompt_refs,
            "passed": self.passed,
            "cases": [
                {
                    "id": result.case.id,
                    "tags": list(result.case.tags),
                    "stable": result.case.stable,
                    "passed": result.passed,
                    "scores": {score.scorer: score.detail or "ok" for score in result.scores},
                    "action": result.outcome.decision["action"],
                    "hand_off": result.outcome.decision["hand_off"],
                    "cited": list(result.outcome.cited),
                    "text": result.outcome.text,
                    "duration_ms": round(result.outcome.duration_ms, 1),
                }
                for result in self.results
            ],
        }


def _mark(result: Result) -> str:
    if result.passed:
        return "pass"
    return "FAIL" if result.case.stable else "unstable"
