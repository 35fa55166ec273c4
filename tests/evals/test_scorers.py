from typing import Any

import pytest

from agents.decisions import GroundedAnswer, TurnDecision
from evals.case import Case, Expectation
from evals.report import Report, Result
from evals.scorers import Outcome, score
from tools.knowledge import RecalledPassage

TEXT = "You get a receipt.\n\nSource: Receipts"


def a_case(*, stable: bool = True, **expect: Any) -> Case:
    return Case(
        id="a", tenant="asha", messages=("hi",), expect=Expectation(**({"action": "answer"} | expect)), stable=stable
    )


def an_outcome(*, text: str = TEXT, answer: str = "You get a receipt.", **decision: Any) -> Outcome:
    grounded = GroundedAnswer(
        question="", text=answer, article_id="receipts", chunk_id=1, title="Receipts", quote=answer
    )  # fmt: skip
    made: dict[str, Any] = {
        "action": "answer", "answers": [grounded], "choices": [], "hand_off": None, "unanswered": [], "language": "en",
    }  # fmt: skip
    passage = RecalledPassage(
        chunk_id=1, article_id="receipts", title="Receipts", text="You get a receipt. It is free.", position=0,
        language="en", score=1, similarity=1, found_for=[],
    )  # fmt: skip
    return Outcome(TurnDecision(**(made | decision)), text, ("receipts",), (passage,), 1.0)


def faults(case: Case, outcome: Outcome) -> dict[str, str]:
    return {entry.scorer: entry.detail for entry in score(case, outcome) if not entry.passed}


def test_a_right_outcome_has_no_fault() -> None:
    case = a_case(cites=["receipts"], says=["You get a receipt."], never=["no receipt"])
    assert faults(case, an_outcome()) == {}


@pytest.mark.parametrize(
    ("expect", "outcome", "scorer"),
    [
        ({"action": "hand_off"}, {}, "action"),
        ({"hand_off": "unreadable"}, {}, "action"),
        ({"cites": ["refunds"]}, {}, "citation"),
        ({"cites": []}, {}, "citation"),
        ({"cites": ["receipts"], "says": ["section 80G"]}, {}, "wording"),
        ({"cites": ["receipts"], "never": ["A RECEIPT"]}, {}, "forbidden"),
        ({"cites": ["receipts"]}, {"answer": "You get nothing."}, "grounded"),
    ],
)
def test_a_wrong_outcome_is_named_by_its_scorer(expect: dict[str, Any], outcome: dict[str, Any], scorer: str) -> None:
    assert scorer in faults(a_case(**expect), an_outcome(**outcome))


def test_an_article_that_may_be_cited_too_is_no_fault() -> None:
    assert faults(a_case(cites=["refunds"], also=["receipts"]), an_outcome()) == {}


def a_result(*, stable: bool, right: bool) -> Result:
    case, outcome = a_case(stable=stable, cites=["receipts"] if right else ["refunds"]), an_outcome()
    return Result(case, outcome, score(case, outcome))


def test_a_report_passes_when_its_stable_cases_do() -> None:
    report = Report("offline", {}, [a_result(stable=True, right=True), a_result(stable=False, right=False)])
    assert report.passed
    assert "1 of 2 passed with offline; 0 failed, and 1 that are not stable" in report.table()


def test_a_stable_case_that_fails_fails_the_report_and_says_why() -> None:
    report = Report("offline", {}, [a_result(stable=True, right=False)])
    assert not report.passed
    assert "FAIL     a  citation: does not cite refunds" in report.table()


def test_a_report_without_results_fails() -> None:
    report = Report("offline", {}, [])
    assert not report.passed
    assert "without results fails" in report.table()


def test_a_report_is_json_for_machines() -> None:
    import json

    report = json.loads(Report("offline", {"a/b": "1@c"}, [a_result(stable=True, right=True)]).as_json())
    assert report["passed"] is True
    assert report["prompt_refs"] == {"a/b": "1@c"}
    [case] = report["cases"]
    assert case["scores"] == {"action": "ok", "citation": "ok", "wording": "ok", "forbidden": "ok", "grounded": "ok"}
    assert case["text"] == TEXT
