"""How surely a passage answers a question: by the nearness of their vectors and by the words they share.

Neither is enough. Vectors lie close for two texts of one field that say different things; a question in Hinglish or
with a spelling slip shares few words with the article that answers it.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from models.offline.lexicon import words

#: At or above: quoted as the answer. Measured on the demo organisation: of 195 questions that its articles answer, 146
#: are answered rightly and 6 wrongly, 16 more get a choice that holds the answer; of 162 others, 7 are answered.
ACT = 0.46
#: At or above: offered as a choice, when there is something to choose from.
CLARIFY = 0.38
#: What is worth offering beside the best.
CHOICE = 0.25
CHOICES_MAX = 3

#: A short question with one of these words, or that begins so, is understood only with what was asked before it.
_LEANING = frozenset({"it", "its", "that", "this", "those", "these", "them", "they", "there", "then", "same", "one"})
_LEANING_START = re.compile(r"(?i)\W*(?:and|also|what about|how about|aur|और)\b")
_LEANING_WORDS_MAX = 3
#: Words that ask about anything and name nothing.
_ASKING_ANYTHING = frozenset(
    {"long", "take", "much", "many", "often", "soon", "late", "cost", "time", "happen", "work"}
)
_STOPWORDS = Path(__file__).with_name("stopwords.txt")
_ENDINGS = (
    "ations", "ation", "ings", "ing", "ions", "ion", "edly", "ed", "ies", "ers", "er", "es", "ly", "s", "e", "y",
)  # fmt: skip
_STEM_LETTERS_MIN = 4
#: Code points, vowel signs counted: case endings follow the noun in Hindi and Tamil.
_INDIC_STEM_LENGTH = 5
#: An unknown word with one slip is still that word, when it is long enough.
_SLIP_LETTERS_MIN = 5


def confidence(question: str, passage: Mapping[str, Any], match: Mapping[str, Any]) -> float:
    """How surely `passage` answers `question`, 0 to 1. `match` holds the search's own figures."""
    similarity, covered = float(match["similarity"]), float(match["coverage"])
    if similarity:
        return (similarity + covered) / 2
    # The embedder cannot read the question, as one in Hindi or Tamil: words are all there is.
    return (covered + coverage(question, f"{passage['title']} {passage['text']}")) / 2


def leans_on_earlier(question: str) -> bool:
    """Whether `question` is understood only with the one before it: "How long does it take?"."""
    leans = not _LEANING.isdisjoint(words(question)) or _LEANING_START.match(question) is not None
    return leans and len(content_words(question)) <= _LEANING_WORDS_MAX


def speaks_of(question: str, passage: str) -> bool:
    """Whether all that a leaning question names stands in the passage: "is it raining?" leans on nothing of ours."""
    named = [word for word in content_words(question) if word not in _ASKING_ANYTHING]
    return not named or coverage(" ".join(named), passage) == 1


def content_words(text: str) -> list[str]:
    """The words of `text` that carry its matter, as stems, in order, each once."""
    return list(dict.fromkeys(stem(word) for word in words(text) if word not in stopwords() and len(word) > 1))


def coverage(question: str, passage: str) -> float:
    """How much of the question's matter the passage speaks of, 0 to 1; 0 when the question has none."""
    asked = content_words(question)
    if not asked:
        return 0.0
    spoken = {stem(word) for word in words(passage)}
    return sum(word in spoken or _slipped(word, spoken) for word in asked) / len(asked)


def stem(word: str) -> str:
    """A word without its common English endings; a word of an Indic script without what follows its beginning."""
    if not word.isascii():
        return word[:_INDIC_STEM_LENGTH]
    ends = (ending for ending in _ENDINGS if word.endswith(ending) and len(word) - len(ending) >= _STEM_LETTERS_MIN)
    return word.removesuffix(next(ends, ""))


@cache
def stopwords() -> frozenset[str]:
    """Words that say nothing about the matter, in English and Hinglish."""
    return frozenset(_STOPWORDS.read_text(encoding="utf-8").split())


def _slipped(word: str, spoken: set[str]) -> bool:
    """Whether a word of the passage differs from `word` by one letter left out, added, changed, or two swapped."""
    if len(word) < _SLIP_LETTERS_MIN or not word.isascii():
        return False
    return any(abs(len(other) - len(word)) <= 1 and other[0] == word[0] and _one_slip(word, other) for other in spoken)


def _one_slip(one: str, other: str) -> bool:
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    rest, left = one[start:], other[start:]
    return (
        rest[1:] == left[1:]
        or rest[1:] == left
        or rest == left[1:]
        or (rest[1::-1] == left[:2] and rest[2:] == left[2:])
    )
