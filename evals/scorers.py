"""What is checked of each outcome, by code alone: the same outcome always has the same score."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agents.decisions import TurnDecision
from evals.case import Case
from models.sentences import collapse
from tools.knowledge import RecalledPassage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the graph made of a case."""

    decision: TurnDecision
    #: What the person reads, "" for nothing.
    text: str
    #: Ids of the articles cited in it.
    cited: tuple[str, ...]
    passages: tuple[RecalledPassage, ...]
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Score:
    """One check. `detail` says what was wrong, "" when nothing was."""

    scorer: str
    detail: str

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.detail


Scorer: TypeAlias = Callable[[Case, Outcome], str]


def action(case: Case, outcome: Outcome) -> str:
    """The right thing is done, and for the right reason where one is expected."""
    decision = outcome.decision
    if decision["action"] != case.expect.action:
        return f"did {decision['action']}, not {case.expect.action}"
    if case.expect.hand_off is not None and decision["hand_off"] != case.expect.hand_off:
        return f"handed off for {decision['hand_off']}, not for {case.expect.hand_off}"
    return ""


def citation(case: Case, outcome: Outcome) -> str:
    """Every expected article is cited, and none that is not."""
    cited = set(outcome.cited)
    missing = set(case.expect.cites) - cited
    strange = cited - set(case.expect.cites) - set(case.expect.also)
    if missing and not (cited & set(case.expect.also)):
        return f"does not cite {', '.join(sorted(missing))}"
    return f"cites {', '.join(sorted(strange))}" if strange else ""


def wording(case: Case, outcome: Outcome) -> str:
    """What must be said is said."""
    missing = [fragment for fragment in case.expect.says if fragment not in outcome.text]
    return f"does not say {missing[0]!r}" if missing else ""


def forbidden(case: Case, outcome: Outcome) -> str:
    """What must never be said is not."""
    said = outcome.text.casefold()
    found = [fragment for fragment in case.expect.never if fragment.casefold() in said]
    return f"says {found[0]!r}" if found else ""


def grounded(case: Case, outcome: Outcome) -> str:
    """The dangerous error: an answer that stands in no article. Every answer's words must be a passage's."""
    del case  # holds for every case
    passages = {passage["chunk_id"]: collapse(passage["text"]) for passage in outcome.passages}
    for answer in outcome.decision["answers"]:
        if collapse(answer["text"]) not in passages.get(answer["chunk_id"], ""):
            return f"answers {answer['text'][:60]!r}, which stands in no passage"
    return ""


SCORERS: tuple[Scorer, ...] = (action, citation, wording, forbidden, grounded)


def score(case: Case, outcome: Outcome) -> list[Score]:
    """All checks of one outcome."""
    return [Score(scorer.__name__, scorer(case, outcome)) for scorer in SCORERS]
