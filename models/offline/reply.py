"""The offline choice of an answer: the questions and passages that stand in the prompt in, one decision out.

For each question the passage that bears it most surely: sure enough, it is quoted; unsure among several articles, the
person chooses; else a colleague answers. Questions sent in pieces are read together first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from models.offline.choice import Choice
from models.offline.grounding import (
    ACT,
    CHOICE,
    CHOICES_MAX,
    CLARIFY,
    confidence,
    content_words,
    coverage,
    leans_on_earlier,
    speaks_of,
)
from models.offline.lexicon import asks
from models.offline.prompt import block, earlier_question, tool_results
from models.sentences import sentences

SEARCH_TOOL = "search_knowledge"
#: A quotation longer than this is hard to read on a phone; then the sentences nearest to the question are quoted.
QUOTE_CHARACTERS_MAX = 700
#: A piece of a burst that does not ask is a question of its own from this many words of matter on: "tax receipt".
MATTER_WORDS_MIN = 2
#: A piece whose words stand in the passage to this share asks of what the passage speaks of.
SAME_MATTER = 0.34
#: The number of the search that was made by tool call.
TOOL_SEARCH = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage for one question, and how surely it answers it."""

    passage: dict[str, Any]  # Any: JSON of the prompt
    confidence: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its candidates, one for each article, in the order in which the search ranks them."""

    question: str
    kind: str
    candidates: tuple[Candidate, ...]

    @property
    def sure(self) -> float:
        """How surely the best candidate answers; 0 without one."""
        return self.candidates[0].confidence if self.candidates else 0.0

    @property
    def answered(self) -> bool:
        """Whether the best candidate may be quoted."""
        return self.sure >= ACT

    @property
    def choices(self) -> tuple[Candidate, ...]:
        """What the person may choose from, surest first, when nothing may be quoted; none when all is too far."""
        offered = sorted((entry for entry in self.candidates if entry.confidence >= CHOICE), key=_by_confidence)
        return tuple(offered[:CHOICES_MAX]) if len(offered) > 1 and offered[0].confidence >= CLARIFY else ()


def choose_reply(messages: Sequence[BaseMessage], bound: frozenset[str]) -> Choice:
    """Look up with the earlier question, answer, let the person choose, or hand over."""
    passages = block(messages, "passages")
    findings = [_finding(search, passages) for search in block(messages, "searches")]
    if whole := _with_earlier(messages, findings):
        if tool_results(messages):
            leaning = _leaning(findings[0].question, whole, passages)
            findings = [leaning] if leaning.answered else findings
        elif SEARCH_TOOL in bound:
            return Choice(SEARCH_TOOL, {"query": whole}, "search", 0.0)
    asked = _as_one(findings) or _each(findings)
    return _answer(asked) if any(finding.answered for finding in asked) else _clarify_or_hand_over(asked)


def _finding(search: dict[str, Any], passages: Sequence[dict[str, Any]]) -> Finding:
    """The candidates of one search: of each article the passage that bears the question most surely."""
    question = str(search["text"])
    found = sorted(
        ((int(match["rank"]), passage, match) for passage in passages for match in passage["found_for"]
         if match["search"] == search["search"]), key=_by_rank,
    )  # fmt: skip
    # The search ranks best: its first passage of an article speaks for the article.
    best: dict[str, Candidate] = {}
    for _, passage, match in found:
        best.setdefault(passage["article_id"], Candidate(passage, confidence(question, passage, match)))
    return Finding(question, str(search["kind"]), tuple(best.values()))


def _as_one(findings: Sequence[Finding]) -> list[Finding]:
    """The burst as one question: when its whole is answered as surely as any piece, or no piece is answered.

    A piece that asks of something else stays beside it.
    """
    whole = next((finding for finding in findings if finding.kind == "joined"), None)
    pieces = [finding for finding in findings if finding.kind != "joined"]
    if whole is None or any(piece.answered and piece.sure > whole.sure for piece in pieces):
        return []
    if not whole.answered:
        return [whole]
    return [whole, *(piece for piece in pieces if _stands_alone(piece) and _asks_of_other(piece, whole))]


def _asks_of_other(piece: Finding, whole: Finding) -> bool:
    passage = whole.candidates[0].passage
    return coverage(piece.question, f"{passage['title']} {passage['text']}") < SAME_MATTER


def _each(findings: Sequence[Finding]) -> list[Finding]:
    """Each piece by itself; one that asks nothing, such as "I gave 500" or "by upi", belongs to the others."""
    pieces = [finding for finding in findings if finding.kind != "joined"]
    return [finding for finding in pieces if len(pieces) == 1 or _stands_alone(finding)]


def _stands_alone(piece: Finding) -> bool:
    matter = len(content_words(piece.question))
    if piece.kind == "choice" or asks(piece.question):
        return matter > 0
    return matter >= MATTER_WORDS_MIN and piece.answered


def _answer(findings: Sequence[Finding]) -> Choice:
    answered = [finding for finding in findings if finding.answered]
    return _decision(
        "answer",
        "grounded",
        answers=[_entry(finding.question, finding.candidates[0].passage) for finding in answered],
        unanswered=[finding.question for finding in findings if not finding.answered],
        confidence=min(finding.sure for finding in answered),
    )


def _clarify_or_hand_over(findings: Sequence[Finding]) -> Choice:
    if len(findings) == 1 and (choices := findings[0].choices):
        answers = [_entry(findings[0].question, candidate.passage) for candidate in choices]
        return _decision("clarify", "ambiguous", answers=answers, confidence=findings[0].sure)
    unanswered = [finding.question for finding in findings]
    confidence = 1.0 - max((finding.sure for finding in findings), default=0.0)
    return _decision("hand_off", "not_in_knowledge", unanswered=unanswered, confidence=confidence)


def _leaning(question: str, whole: str, passages: Sequence[dict[str, Any]]) -> Finding:
    """What was found for a question together with the one before it, as far as it speaks of the new one too."""
    found = _finding({"search": TOOL_SEARCH, "text": whole, "kind": "message"}, passages)
    kept = (
        entry for entry in found.candidates if speaks_of(question, f"{entry.passage['title']} {entry.passage['text']}")
    )
    return Finding(question, "message", tuple(kept))


def _with_earlier(messages: Sequence[BaseMessage], findings: Sequence[Finding]) -> str:
    """The person's earlier question and this one together, or "" when this one stands by itself."""
    earlier = earlier_question(messages)
    if not earlier or len(findings) != 1 or not leans_on_earlier(findings[0].question):
        return ""
    return f"{earlier} {findings[0].question}"


def _entry(question: str, passage: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    text = _quotable(question, str(passage["text"]))
    bearing = max(sentences(text), key=lambda sentence: coverage(question, sentence), default=text)
    return {
        "question": question,
        "text": text,
        "citation": {
            "article_id": passage["article_id"],
            "chunk_id": passage["chunk_id"],
            "title": passage["title"],
            "quote": bearing,
        },
    }


def _quotable(question: str, text: str) -> str:
    """The whole passage when it is short, else the run of its sentences that speaks most of the question."""
    parts = sentences(text)
    if len(text) <= QUOTE_CHARACTERS_MAX or not parts:
        return text
    best = max(range(len(parts)), key=lambda place: (coverage(question, parts[place]), -place))
    first = last = text.index(parts[best])
    for part in parts[best:]:
        end = text.index(part, last) + len(part)
        if end - first > QUOTE_CHARACTERS_MAX and last > first:
            break
        last = end
    return text[first:last]


def _by_rank(found: tuple[int, dict[str, Any], dict[str, Any]]) -> int:
    return found[0]


def _by_confidence(candidate: Candidate) -> tuple[float, int]:
    return -candidate.confidence, int(candidate.passage["chunk_id"])


def _decision(
    action: str,
    reason: str,
    *,
    confidence: float,
    answers: Sequence[dict[str, Any]] = (),
    unanswered: Sequence[str] = (),
) -> Choice:
    arguments = {"action": action, "answers": list(answers), "unanswered": list(unanswered), "reason": reason}
    citations = tuple(answer["citation"]["chunk_id"] for answer in answers)
    return Choice("ReplyDecision", arguments, action, round(confidence, 4), citations)
