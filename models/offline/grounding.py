"""How surely a passage answers a question: by the nearness of their vectors and by the words they share.

Neither is enough. Vectors lie close for two texts of one field that say different things; a question in Hinglish or
with a spelling slip shares few words with the article that answers it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from models.offline.language import one_spelling
from models.offline.lexicon import words
from models.offline.stopwords import stopwords

# Chosen together on the demo organisation's questions, a wrong answer counted as five right ones.

#: Confidence at or above which a passage is quoted as the answer, when no other article fits about as well.
ACT = 0.46
#: The same for a paragraph of an article that is not about the matter.
ACT_ASIDE = 0.7
#: At or above: offered as a choice, when there is something to choose from.
CLARIFY = 0.38
#: What is worth offering beside the best.
CHOICE = 0.25
CHOICES_MAX = 3
#: Fitness by which the best article leads the next one; with less, the person chooses.
LEAD_MIN = 0.2
#: What the first paragraph of an article is worth more: by convention it answers the article's main question.
FIRST_PARAGRAPH = 0.1
#: What a question of the article's own that says the same is worth.
SAME_QUESTION = 0.25
#: A question and a known one that share this much speak of one matter.
ALIKE = 0.5

#: A short question with one of these words, or that begins so, is understood only with what was asked before it.
_LEANING = frozenset({"it", "its", "that", "this", "those", "these", "them", "they", "there", "then", "same", "one"})
_LEANING_START = re.compile(
    r"(?i)\W*(?:and|also|what about|how about|aur|by|in|at|on|from|to|for|of|with|through|via|near)\b|\W*और\s"
)
LEANING_WORDS_MAX = 3
#: Words that ask about anything and name nothing.
_ASKING_ANYTHING = frozenset(
    {"long", "take", "much", "many", "often", "soon", "late", "cost", "time", "happen", "work"}
)
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
    # The embedder cannot read the question, as one in Hindi or Tamil. Words are all there is, and a word that stands in
    # a paragraph by chance answers nothing: the title or a known question must speak of the matter too. A word in Latin
    # letters among the others, such as "80G", stands in an article of that script in other letters.
    own_script = " ".join(word for word in words(question) if not word.isascii()) or question
    if not coverage(own_script, passage["title"]) and match["likeness"] < ALIKE:
        return 0.0
    return (covered + coverage(own_script, f"{passage['title']} {passage['text']}")) / 2


def at_home(question: str, passage: Mapping[str, Any]) -> bool:
    """Whether the passage's article is about the matter: in a later paragraph the words may stand by chance."""
    return not passage["position"] or coverage(question, passage["title"]) > 0


def fitness(passage: Mapping[str, Any], match: Mapping[str, Any], sure: float) -> float:
    """By what the passages of one question are compared: the search's rank (0 to 2, relative) and the confidence."""
    first = 0.0 if passage["position"] else FIRST_PARAGRAPH
    return float(match["score"]) / 2 + sure + first + SAME_QUESTION * float(match["likeness"])


def leans_on_earlier(question: str) -> bool:
    """Whether `question` is understood only with the one before it: "How long does it take?"."""
    leans = not _LEANING.isdisjoint(words(question)) or _LEANING_START.match(question) is not None
    return leans and len(content_words(question)) <= LEANING_WORDS_MAX


def speaks_of(question: str, passage: Mapping[str, Any], *, search: int) -> bool:
    """Whether all that a leaning question names stands in the passage: "is it raining?" leans on nothing of ours.

    What the whole search names may stand in the questions of the article, which a passage does not show.
    """
    named = [word for word in content_words(question) if word not in _ASKING_ANYTHING]
    told = any(match["search"] == search and match["coverage"] == 1 for match in passage["found_for"])
    return told or not named or coverage(" ".join(named), f"{passage['title']} {passage['text']}") == 1


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


def likeness(question: str, known: Iterable[str]) -> float:
    """How alike `question` and the nearest of the `known` ones are: their shared words of matter among all of them."""
    asked = set(content_words(question))
    pairs = ((asked, set(content_words(other))) for other in known)
    return max((2 * len(one & other) / len([*one, *other]) for one, other in pairs if one and other), default=0.0)


def stem(word: str) -> str:
    """A word without its common English endings; a word of an Indic script without what follows its beginning."""
    if not word.isascii():
        return one_spelling(word)[:_INDIC_STEM_LENGTH]
    ends = (ending for ending in _ENDINGS if word.endswith(ending) and len(word) - len(ending) >= _STEM_LETTERS_MIN)
    return word.removesuffix(next(ends, ""))


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
