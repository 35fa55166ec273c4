"""The gate between what a model decided and what is done: code alone, the same for every model.

An answer passes only as whole sentences of a passage that was recalled in this turn for this tenant. So a model can
choose which of the organisation's own sentences a person reads, and nothing else.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from agents.decisions import (
    ANSWERS_MAX,
    CHOICES_MAX,
    Action,
    Answer,
    GroundedAnswer,
    HandOffReason,
    OfferedChoice,
    ReplyDecision,
    TriageDecision,
    TurnDecision,
    hand_off,
)
from models.sentences import collapse, widen
from tools.knowledge import RecalledPassage

Owner: TypeAlias = Literal["agent", "awaiting_person", "person"]

CHOICES_MIN = 2
#: Web and mail addresses, with or without their scheme, and runs of digits long enough to be called or paid to.
_ADDRESS = re.compile(r"(?i)(?:https?://|www\.)\S+|[\w.+-]+@[\w.-]+\w|\b(?:[a-z0-9-]+\.)+[a-z]{2,}\b(?:/\S*)?")
_NUMBER = re.compile(r"\+?\d(?:[\s().-]?\d){6,}")
_NOT_DIGIT = re.compile(r"\D")

_TRIAGE_HAND_OFFS: dict[str, HandOffReason] = {
    "person_asked": "person_asked",
    "safety": "safety",
    "override": "override",
    "opt_out": "opt_out",
    "unreadable": "unreadable",
}


def judge_triage(decision: TriageDecision) -> TurnDecision:
    """What a turn does that needs no knowledge."""
    language = decision["language"]
    match decision["route"]:
        case "greet":
            return _turn("greet", language)
        case "thank":
            return _turn("thank", language)
        case "silent":
            return _turn("silent", language)
        case "hand_off" | "reply":
            return hand_off(_TRIAGE_HAND_OFFS.get(decision["reason"], "person_asked"), language=language)


def judge_reply(
    decision: ReplyDecision | None, passages: Sequence[RecalledPassage], *, language: str, clarified_before: bool
) -> TurnDecision:
    """What a turn does with the reply agent's decision. `clarified_before`: our last message was a choice as well."""
    if decision is None:
        return hand_off("model_refused", language=language)
    by_id = {passage["chunk_id"]: passage for passage in passages}
    match decision["action"]:
        case "answer":
            return _judge_answers(decision, by_id, language)
        case "clarify":
            if clarified_before:
                return hand_off("unclear_twice", language=language, unanswered=decision["unanswered"])
            choices = _choices(decision["answers"], by_id)
            if len(choices) < CHOICES_MIN:
                return hand_off("not_grounded", language=language, unanswered=decision["unanswered"])
            return _turn("clarify", language, choices=choices)
        case "hand_off":
            reason: HandOffReason = "person_asked" if decision["reason"] == "person_asked" else "not_in_knowledge"
            return hand_off(reason, language=language, unanswered=decision["unanswered"])


def respect_owner(decision: TurnDecision, owner: Owner) -> TurnDecision:
    """What remains of a decision while a person is awaited or has taken over.

    Awaited: only grounded answers, and a call for help in danger; the hand-off line was said already. Taken over:
    nothing.
    """
    if owner == "agent":
        return decision
    urgent: HandOffReason | None = "safety" if decision["hand_off"] == "safety" else None
    if owner == "person" or decision["action"] != "answer":
        return _turn("silent", decision["language"], reason=urgent)
    return _turn("answer", decision["language"], answers=decision["answers"], reason=urgent)


def _judge_answers(decision: ReplyDecision, by_id: Mapping[int, RecalledPassage], language: str) -> TurnDecision:
    """Keep what is grounded; what is not becomes an open question. A strange address refuses everything."""
    if any(_strange(answer, by_id) for answer in decision["answers"]):
        return hand_off("not_grounded", language=language, unanswered=decision["unanswered"])
    grounded: list[GroundedAnswer] = []
    unanswered = list(decision["unanswered"])
    for answer in decision["answers"][:ANSWERS_MAX]:
        kept = _ground(answer, by_id)
        if kept is None:
            unanswered.append(answer["question"])
        elif all(kept["text"] != other["text"] for other in grounded):
            grounded.append(kept)
    if not grounded:
        reason: HandOffReason = "not_grounded" if decision["answers"] else "not_in_knowledge"
        return hand_off(reason, language=language, unanswered=unanswered)
    reason_left: HandOffReason | None = "not_in_knowledge" if unanswered else None
    return _turn("answer", language, answers=grounded, reason=reason_left, unanswered=unanswered)


def _ground(answer: Answer, by_id: Mapping[int, RecalledPassage]) -> GroundedAnswer | None:
    """The answer in the passage's own whole sentences, or None where its quotation does not stand there."""
    citation = answer["citation"]
    passage = by_id.get(citation["chunk_id"])
    if passage is None or passage["article_id"] != citation["article_id"]:
        return None
    quoted = widen(passage["text"], citation["quote"])
    if quoted is None:
        return None
    return GroundedAnswer(
        question=answer["question"],
        text=widen(passage["text"], answer["text"]) or quoted,
        article_id=passage["article_id"],
        chunk_id=passage["chunk_id"],
        title=passage["title"],
        quote=collapse(citation["quote"]),
    )


def _strange(answer: Answer, by_id: Mapping[int, RecalledPassage]) -> bool:
    """Whether the answer holds an address or a number that its passage does not: the mark of an injected text."""
    passage = by_id.get(answer["citation"]["chunk_id"])
    return not _contacts(answer["text"]) <= _contacts(passage["text"] if passage else "")


def _contacts(text: str) -> set[str]:
    addresses = {found.casefold().rstrip(".,;:!?)\"'") for found in _ADDRESS.findall(text)}
    return addresses | {_NOT_DIGIT.sub("", found) for found in _NUMBER.findall(text)}


def _choices(answers: Sequence[Answer], by_id: Mapping[int, RecalledPassage]) -> list[OfferedChoice]:
    """The articles that the answers name and that were recalled, each once, best first."""
    offered: dict[str, OfferedChoice] = {}
    for answer in answers:
        passage = by_id.get(answer["citation"]["chunk_id"])
        if passage is not None:
            choice = OfferedChoice(
                article_id=passage["article_id"], chunk_id=passage["chunk_id"], title=passage["title"]
            )
            offered.setdefault(passage["title"], choice)
    return list(offered.values())[:CHOICES_MAX]


def _turn(
    action: Action,
    language: str,
    *,
    answers: list[GroundedAnswer] | None = None,
    choices: list[OfferedChoice] | None = None,
    reason: HandOffReason | None = None,
    unanswered: list[str] | None = None,
) -> TurnDecision:
    return TurnDecision(
        action=action,
        answers=answers or [],
        choices=choices or [],
        hand_off=reason,
        unanswered=unanswered or [],
        language=language,
    )
