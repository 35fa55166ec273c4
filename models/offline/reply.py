"""The offline choice of an answer: the questions and passages that stand in the prompt in, one decision out.

For each question the passage that bears it best: sure enough and ahead of every other article, it is quoted; else the
person chooses among articles, or a colleague answers. Questions sent in pieces are read together first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from models.offline.choice import Choice
from models.offline.grounding import (
    ACT,
    ACT_ASIDE,
    CHOICE,
    CHOICES_MAX,
    CLARIFY,
    LEAD_MIN,
    LEANING_WORDS_MAX,
    at_home,
    confidence,
    content_words,
    coverage,
    fitness,
    leans_on_earlier,
    speaks_of,
)
from models.offline.lexicon import asks, signal_of, wants, words
from models.offline.prompt import block, earlier_messages, tool_results
from models.sentences import sentences

SEARCH_TOOL = "search_knowledge"
#: A quotation longer than this is hard to read on a phone; then the sentences nearest to the question are quoted.
QUOTE_CHARACTERS_MAX = 700
#: A piece whose words stand in the passage to this share asks of what the passage speaks of.
SAME_MATTER = 0.34
#: The number of the search that was made by tool call.
TOOL_SEARCH = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage for one question: how surely it answers, and how well it does compared with the others."""

    passage: dict[str, Any]  # Any: JSON of the prompt
    confidence: float
    fitness: float
    #: Whether its article is about the matter.
    at_home: bool
    #: Whether its article is said to answer this very question.
    same: bool = False

    @property
    def quotable(self) -> bool:
        """Whether it may be quoted, as far as it alone counts."""
        return self.confidence >= (ACT if self.at_home else ACT_ASIDE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One question and its candidates, one for each article, the fittest first."""

    question: str
    kind: str
    #: The places of the messages that it stands for.
    messages: tuple[int, ...]
    candidates: tuple[Candidate, ...]

    @property
    def sure(self) -> float:
        """How surely the best candidate answers; 0 without one."""
        return self.candidates[0].confidence if self.candidates else 0.0

    @property
    def answered(self) -> bool:
        """Whether the best candidate is the answer: it may be quoted, and no other article may answer about as well."""
        if not self.candidates or not self.candidates[0].quotable:
            return False
        best, *others = self.candidates
        rivals = (other for other in others if other.confidence >= CLARIFY and (other.same or not best.same))
        return all(best.fitness - rival.fitness >= LEAD_MIN for rival in rivals)

    @property
    def choices(self) -> tuple[Candidate, ...]:
        """What the person may choose from, the fittest first, when nothing may be quoted; none when all is too far."""
        offered = [entry for entry in self.candidates if entry.at_home and entry.confidence >= CHOICE][:CHOICES_MAX]
        near = any(entry.confidence >= CLARIFY for entry in offered)
        return tuple(offered) if near and len(offered) > 1 else ()


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
    asked = _questions(findings)
    return _answer(asked) if any(finding.answered for finding in asked) else _clarify_or_hand_over(asked)


def _finding(search: dict[str, Any], passages: Sequence[dict[str, Any]]) -> Finding:
    """The candidates of one search: of each article the passage that fits best."""
    question, kind, places = str(search["text"]), str(search["kind"]), tuple(search["messages"])
    found = [
        _candidate(question, passage, match)
        for passage in passages
        for match in passage["found_for"]
        if match["search"] == search["search"]
    ]
    if kind == "choice":
        named = (entry for entry in found if words(entry.passage["title"]) == words(question))
        found = [Candidate(entry.passage, 1.0, entry.fitness, at_home=True) for entry in named]
    return Finding(question, kind, places, _best_of_each(found))


def _best_of_each(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    best: dict[str, Candidate] = {}
    for candidate in sorted(found, key=_by_fitness):
        best.setdefault(candidate.passage["article_id"], candidate)
    return tuple(best.values())


def _candidate(question: str, passage: dict[str, Any], match: dict[str, Any]) -> Candidate:
    sure = confidence(question, passage, match)
    return Candidate(
        passage, sure, fitness(passage, match, sure), at_home(question, passage), same=match["likeness"] == 1
    )


def _questions(findings: Sequence[Finding]) -> list[Finding]:
    """What is to be answered: the pieces that stand alone, or the burst as one question when it is sent in pieces."""
    pieces = [finding for finding in findings if finding.kind != "joined"]
    joined = [finding for finding in findings if finding.kind == "joined"]
    whole = joined[0] if joined and len(joined[0].messages) > 1 else None
    led = joined[1:] if whole else joined
    alone = [_with_lead(piece, led) for piece in pieces if len(pieces) == 1 or _stands_alone(piece)]
    if whole is None:
        return alone
    surest = max((piece.sure for piece in alone if piece.answered), default=0.0)
    if whole.answered and whole.sure >= surest:
        return [whole, *(piece for piece in alone if _asks_of_other(piece, whole))]
    return alone if surest or len(alone) == 1 else [whole]


def _with_lead(piece: Finding, led: Sequence[Finding]) -> Finding:
    """A piece that is not answered by itself may be with the statements before it."""
    fuller = (finding for finding in led if finding.answered and finding.question.endswith(piece.question))
    found = piece if piece.answered else next(fuller, piece)
    return Finding(piece.question, piece.kind, piece.messages, found.candidates)


def _asks_of_other(piece: Finding, whole: Finding) -> bool:
    passage = whole.candidates[0].passage
    return coverage(piece.question, f"{passage['title']} {passage['text']}") < SAME_MATTER


def _stands_alone(piece: Finding) -> bool:
    """Whether a piece of a burst is a question of its own: it asks for something, or it names what is answered."""
    if piece.kind == "choice" or asks(piece.question) or wants(piece.question):
        return bool(content_words(piece.question))
    return piece.answered and not leans_on_earlier(piece.question)


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
    spoken = [passage for passage in passages if speaks_of(question, passage, search=TOOL_SEARCH)]
    first = {passage["article_id"] for passage in spoken if not passage["position"]}
    # Two questions in one tell little about the paragraph: the article's first is the safe one.
    kept = [passage for passage in spoken if not passage["position"] or passage["article_id"] not in first]
    found = _finding({"search": TOOL_SEARCH, "text": whole, "kind": "message", "messages": ()}, kept)
    return Finding(question, found.kind, found.messages, found.candidates)


def _with_earlier(messages: Sequence[BaseMessage], findings: Sequence[Finding]) -> str:
    """The person's earlier question and this one together, or "" when this one stands by itself."""
    if len(findings) != 1 or not _leans(findings[0]):
        return ""
    asked = (text for text in earlier_messages(messages) if signal_of(text) is None and not leans_on_earlier(text))
    earlier = next(asked, "")
    return f"{earlier} {findings[0].question}" if earlier else ""


def _leans(finding: Finding) -> bool:
    """Whether it says so, or is short and found nothing by itself, as "in Mumbai" does."""
    short = len(content_words(finding.question)) <= LEANING_WORDS_MAX
    return leans_on_earlier(finding.question) or (short and finding.kind == "message" and not finding.answered)


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


def _by_fitness(candidate: Candidate) -> tuple[float, int]:
    return -candidate.fitness, int(candidate.passage["chunk_id"])


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
