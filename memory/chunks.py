"""Cutting an article into chunks: its body in, verbatim pieces of it out, each fit to be found and quoted by itself."""

import re

from models.sentences import sentence_spans

#: A paragraph longer than this says more than one thing; it is cut between sentences.
CHUNK_WORDS_MAX = 120
#: A shorter paragraph that does not end like a sentence is a heading or leads to what follows: it stays with that.
LEAD_WORDS_MAX = 12

_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n))*")
_SENTENCE_END = re.compile(r"[.?!।॥][\"'”’)\]*_]*\Z")
_LIST_MARK = re.compile(r"(?:[-*•–]|\d{1,3}[.)])\s")
#: A full stop after an initial or after one of these belongs to the name that follows.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|Adv|Smt|Shri|Sri|Kum|Prof|Er|Fr|Sr|Jr|Hon|Gen|Col|Capt|Lt|Ltd|Pvt|Co|Inc|Govt|Dept|Rev)\.\Z"
)

_Span = tuple[int, int]


def chunks_of(body: str) -> list[str]:
    """The chunks of `body`, in order: each stands in it word for word, and together they hold all of its words.

    A chunk is a paragraph; a heading stays with the paragraph below it, and a long paragraph is cut between sentences.
    No sentence is ever cut, so one that is longer than `CHUNK_WORDS_MAX` is a chunk by itself.
    """
    chunks: list[str] = []
    lead: _Span | None = None
    paragraphs = [_trimmed(body, match.span()) for match in _PARAGRAPH.finditer(body)]
    for start, end in paragraphs:
        span = (lead[0] if lead else start, end)
        last = (start, end) == paragraphs[-1]
        if not last and _leads(body[start:end]) and _words(body, span) <= CHUNK_WORDS_MAX:
            lead = span
            continue
        chunks.extend(body[a:b] for a, b in _cut(body, span))
        lead = None
    return chunks


def _leads(paragraph: str) -> bool:
    return len(paragraph.split()) <= LEAD_WORDS_MAX and _SENTENCE_END.search(paragraph) is None


def _cut(body: str, span: _Span) -> list[_Span]:
    """`span` as pieces of at most CHUNK_WORDS_MAX words that end where sentences end."""
    pieces: list[_Span] = []
    for start, end in _sentences(body, span):
        if pieces and _words(body, (pieces[-1][0], end)) <= CHUNK_WORDS_MAX:
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    return pieces


def _sentences(body: str, span: _Span) -> list[_Span]:
    """Sentences that surely are: a line break, an initial or an abbreviation inside one does not end it."""
    text = body[slice(*span)]
    surely: list[_Span] = []
    for start, end in sentence_spans(text):
        if surely and not _ends(text[slice(*surely[-1])], text[start:]):
            surely[-1] = (surely[-1][0], end)
        else:
            surely.append((start, end))
    return [(span[0] + start, span[0] + end) for start, end in surely]


def _ends(sentence: str, rest: str) -> bool:
    if _LIST_MARK.match(rest):
        return True
    return _SENTENCE_END.search(sentence) is not None and not _ABBREVIATION.search(sentence) and not rest[0].islower()


def _trimmed(body: str, span: _Span) -> _Span:
    text = body[slice(*span)]
    return span[0] + len(text) - len(text.lstrip()), span[0] + len(text.rstrip())


def _words(body: str, span: _Span) -> int:
    return len(body[slice(*span)].split())
