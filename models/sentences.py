"""Whole sentences of a text: what may be quoted, and how much of it fits.

A sentence ends at `.`, `?`, `!` or a danda before a space, and at the end of a line. An abbreviation may split one
into two; that only makes a quotation shorter, never different.
"""

import re

_END = re.compile(r"(?:[.?!](?=[\s\"'”’)])|[।॥]|[.?!]?\n)[\"'”’)]*\s*|\Z")
#: A full stop after these belongs to the word: `Rs. 500`, `No. 12`, `e.g. a PAN card`.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:rs|no|nos|mr|mrs|ms|dr|st|e\.g|i\.e|vs|sec|approx|\d{1,2})\.$", re.IGNORECASE
)
_SPACE = re.compile(r"\s+")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence of `text` begins and ends, without the space around it; blank lines give none."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        end = match.end()
        sentence = text[start:end]
        if match.group() and "\n" not in match.group() and _ABBREVIATION.search(sentence.rstrip()):
            continue
        if stripped := sentence.strip():
            first = start + sentence.index(stripped[0])
            spans.append((first, first + len(stripped)))
        start = end
    return spans


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order."""
    return [text[start:end] for start, end in sentence_spans(text)]


def widen(text: str, quote: str) -> str | None:
    """The whole sentences of `text` in which `quote` stands word for word, or None where it does not stand there.

    Runs of white space count as one space. Widening keeps a quotation honest: half of "Donations are not refundable"
    would say the opposite.
    """
    words = quote.split()
    if not words:
        return None
    found = re.search(r"\s+".join(re.escape(word) for word in words), text)
    if found is None:
        return None
    touched = [(start, end) for start, end in sentence_spans(text) if start < found.end() and end > found.start()]
    return text[touched[0][0] : touched[-1][1]] if touched else None


def fit(text: str, characters_max: int) -> str:
    """As many whole sentences from the start of `text` as fit; "" when not even the first does."""
    if len(text) <= characters_max:
        return text
    end = 0
    for _, sentence_end in sentence_spans(text):
        if sentence_end > characters_max:
            break
        end = sentence_end
    return text[:end]


def collapse(text: str) -> str:
    """`text` with every run of white space as one space and none at its ends."""
    return _SPACE.sub(" ", text).strip()
