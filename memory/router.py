"""Which memory a turn needs, and why: messages in, searches out. Pure; it searches nothing itself.

One search for each question, so that five questions in a burst find five passages; one for the burst as a whole when
it has several messages, because people send one question in pieces; and one for a question with the statements that
lead to it. A statement beside questions is no question: it has no search of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from models.offline.lexicon import FOR_A_PERSON, asks, signal_of, tells, words
from models.offline.stopwords import stopwords
from models.sentences import collapse, sentences

QueryKind: TypeAlias = Literal["message", "part", "joined", "choice"]

QUERIES_MAX = 8
QUERY_CHARACTERS_MAX = 500

_CHOICE = re.compile(r"\W*(?:(?:option|number|no|choice)\W*)?([1-9])\W*", re.IGNORECASE)
_OFFER = re.compile(r"^([1-9])\. (.+)$", re.MULTILINE)
_LEAD = re.compile(r"(?i)^(?:and|also|plus)\b(?:\s+also\b)?[\s,]*")
#: How people type on a phone, commonest slips of spelling included, and what an embedder and a word list know.
_SHORTHAND = {
    "u": "you", "ur": "your", "urs": "yours", "r": "are", "y": "why", "pls": "please", "plz": "please", "wat": "what",
    "wats": "what is", "whats": "what is", "wht": "what", "whr": "where", "hw": "how", "abt": "about", "msg": "message",
    "msgs": "messages", "acc": "account", "acct": "account", "amt": "amount", "hrs": "hours", "reciept": "receipt",
    "recipt": "receipt", "adress": "address", "thru": "through", "bcoz": "because", "bcz": "because", "dont": "do not",
    "yrs": "years", "bday": "birthday", "docs": "documents", "pic": "photo", "pics": "photos", "reg": "registration",
    "govt": "government", "cloths": "clothes", "adhar": "aadhaar", "aadhar": "aadhaar", "adhaar": "aadhaar",
    "phonepay": "phonepe", "sponser": "sponsor", "tution": "tuition", "voluntear": "volunteer", "volunter": "volunteer",
    "scolarship": "scholarship", "scholorship": "scholarship", "cheq": "cheque", "certifcate": "certificate",
    "blore": "bangalore", "blr": "bangalore", "hyd": "hyderabad", "speling": "spelling", "recieve": "receive",
    "recieved": "received",
}  # fmt: skip
_SHORT_WORD = re.compile(rf"(?i)(?<![\w'’])(?:{'|'.join(_SHORTHAND)})(?![\w'’])")
_ALSO = re.compile(
    r"(?i)[,;]?\s+(?:and also|also,|and (?=(?:who|what|when|where|which|why|how|can i|do i|is there)\b))\s*"
)


@dataclass(frozen=True, slots=True)
class Query:
    """One search. `messages` are the places (from 1) of the messages of this turn that it stands for."""

    text: str
    messages: tuple[int, ...]
    kind: QueryKind


@dataclass(frozen=True, slots=True)
class RecallPlan:
    """The searches of a turn and the reason for them."""

    queries: tuple[Query, ...]
    why: str


def plan_recall(texts: Sequence[str], *, offered: Sequence[str] = ()) -> RecallPlan:
    """Decide what to search for these messages. `offered` are the choices that we gave last, in order."""
    signals = [signal_of(text) for text in texts]
    if not FOR_A_PERSON.isdisjoint(signals):
        return RecallPlan((), "a person is needed: nothing to search")
    asking = [
        (number, text)
        for number, (text, signal) in enumerate(zip(texts, signals, strict=True), start=1)
        if text.strip() and (signal is None or chosen(text, offered))
    ]
    if not asking:
        return RecallPlan((), "no message asks for knowledge")
    queries = _queries(asking, offered)
    why = f"{len(queries)} question(s) in {len(asking)} message(s)"
    if len(asking) > 1:
        # The whole burst comes first: it is the one that must not fall to the limit.
        queries.insert(0, _joined(asking))
        why += ", and the burst as one"
    if len(queries) > QUERIES_MAX:
        why += f"; the first {QUERIES_MAX} searches of {len(queries)}"
    return RecallPlan(tuple(queries[:QUERIES_MAX]), why)


def offered_in(text: str) -> list[str]:
    """The numbered choices that a message of ours offers, in order; none when there are fewer than two."""
    lines = _OFFER.findall(text)
    in_order = [title for place, (number, title) in enumerate(lines, start=1) if int(number) == place]
    return in_order if len(in_order) == len(lines) and len(lines) > 1 else []


def chosen(text: str, offered: Sequence[str]) -> str | None:
    """The choice that `text` makes among those offered: by its number, or by its words."""
    if not offered:
        return None
    match = _CHOICE.fullmatch(text.strip())
    if match and int(match.group(1)) <= len(offered):
        return offered[int(match.group(1)) - 1]
    return next((title for title in offered if words(title) == words(text)), None)


def questions_of(text: str) -> list[str]:
    """The questions in one message, each with the statements that lead to it; greetings around them are left out."""
    parts = [part for sentence in sentences(text) for part in _ALSO.split(sentence)]
    pieces = [part.strip() for part in parts if part.strip() and signal_of(part) is None]
    questions: list[str] = []
    lead: list[str] = []
    for piece in pieces:
        lead.append(_LEAD.sub("", piece) or piece)
        if asks(piece):
            questions.append(" ".join(lead))
            lead = []
    if len(questions) < 2:  # noqa: PLR2004  # one question is the message itself
        return [collapse(" ".join(pieces) or text)]
    return questions


def spelt_out(text: str) -> str:
    """`text` with the commonest shorthand of phones in full words: "whats ur upi id" is "what is your upi id"."""
    return _SHORT_WORD.sub(lambda match: _SHORTHAND[match.group().casefold()], text)


def _queries(asking: Sequence[tuple[int, str]], offered: Sequence[str]) -> list[Query]:
    """The searches for the messages of a burst, each by itself, and with what leads to it where that is not all."""
    queries: list[Query] = []
    lead: list[tuple[int, str]] = []
    only_told = all(tells(text) for _, text in asking)
    for number, text in asking:
        if tells(text) and not only_told:
            lead.append((number, text))
            continue
        queries.extend(_queries_of(number, text, offered))
        if lead and len(lead) + 1 < len(asking):
            queries.append(_joined([*lead, (number, text)]))
        lead = []
    return queries


def _joined(messages: Sequence[tuple[int, str]]) -> Query:
    text = spelt_out(collapse(" ".join(text for _, text in messages)))
    return Query(text[:QUERY_CHARACTERS_MAX], tuple(number for number, _ in messages), "joined")


def _queries_of(number: int, text: str, offered: Sequence[str]) -> list[Query]:
    if title := chosen(text, offered):
        return [Query(title, (number,), "choice")]
    questions = questions_of(text)
    kind: QueryKind = "message" if len(questions) == 1 else "part"
    queries: list[Query] = []
    for question in questions:
        bare = _without_lead(question)
        if bare != question:
            queries.append(_joined([(number, question)]))
        queries.append(Query(spelt_out(bare)[:QUERY_CHARACTERS_MAX], (number,), kind))
    return queries


def _without_lead(question: str) -> str:
    """The sentence that asks, where those before it only tell what somebody did and it has matter of its own."""
    *before, last = sentences(question) or [question]
    bare = asks(last) and all(tells(sentence) for sentence in before) and not stopwords().issuperset(words(last))
    return last if bare else question
