"""What a message says plainly enough that no model is asked: greetings, thanks, stop, a wish for a person, danger.

The words stand in `lexicon.yaml`, in English, Hindi and Tamil. Safety words and the wish for a person hold for every
model: `agents.triage` reads them before it asks one.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast

import yaml

Signal: TypeAlias = Literal[
    "self_harm",
    "police",
    "legal",
    "fraud",
    "override",
    "person",
    "stop",
    "start",
    "thanks",
    "greeting",
    "acknowledgement",
]
SAFETY: frozenset[Signal] = frozenset({"self_harm", "police", "legal", "fraud"})
#: Needs a person, and nothing is looked up for it. "override": someone tries to change the agent's rules.
FOR_A_PERSON: frozenset[Signal] = frozenset({*SAFETY, "override", "person", "stop"})
#: Said to be polite: nothing is asked.
COURTESIES: frozenset[Signal] = frozenset({"start", "thanks", "greeting", "acknowledgement"})

#: A greeting or thanks with more words than this says something more.
_COURTESY_WORDS_MAX = 6
#: Letters, digits and the vowel signs of Indic scripts, which Python does not count as letters.
_WORD = re.compile(r"(?:[^\W_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])+")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff]")
_APOSTROPHES = str.maketrans("", "", "'’`")
_EMOJI = "🙏👍👌❤😊"
_ASKS = re.compile(
    r"(?i)^(?:and |also |but |so |then |please |pls |hi |hello |hey |namaste |sir |madam |ok )*"
    r"(?:who|what|whats|when|where|which|why|how|can|could|may|do|does|did|is|are|am|will|would|should|shall|tell|send)\b"
    r"|\b(?:kya|kaise|kab|kahan?|kidhar|kaun|kitn[aei]|kyun?)\b"
    r"|क्या|कैसे|कब|कहाँ|कहां|कौन|कितन|क्यों|என்ன|எப்படி|எப்போ|எங்க|எங்கு|எவ்வளவு|எத்தனை|யார்|ஏன்|உண்டா|(?:ுமா|லாமா)(?:\W|$)"
)
_WANTS = re.compile(
    r"(?i)\b(?:want|need|wish|would like|looking for|have to|chah?iy?e|karna hai|"
    r"not|no|never|nahi|didnt|hasnt|havent|cant|wont|fail\w*|wrong|galat|lost|missing|error|problem|stuck|pending|"
    r"declined|expired|twice)\b|चाह|करना है|नहीं|गलत|ग़लत|வேண்டும்|வேணும்|இல்லை|தவறு"
)
_TELLS = re.compile(
    r"(?i)\b(?:i|ive|im|we|weve|gave|given|paid|sent|donated|transferred|deposited|did|done|made|got|received|visited|"
    r"went|came|maine|humne|diya|bheja|kiya)\b|मैंने|हमने|நான்"
)
_FILE = Path(__file__).with_name("lexicon.yaml")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The lists, ready to match."""

    anywhere: tuple[tuple[Signal, re.Pattern[str]], ...]
    whole: tuple[tuple[Signal, re.Pattern[str]], ...]
    courtesy: tuple[tuple[Signal, frozenset[str]], ...]
    filler: frozenset[str]


@cache
def lexicon() -> Lexicon:
    """The lists of `lexicon.yaml`, read once per process."""
    lists = cast("dict[str, dict[str, list[str]]]", yaml.safe_load(_FILE.read_text(encoding="utf-8")))
    courtesy = {name: frozenset(str(vocabulary).split()) for name, vocabulary in lists["courtesy"].items()}
    return Lexicon(
        anywhere=tuple((cast("Signal", name), _pattern(entries)) for name, entries in lists["anywhere"].items()),
        whole=tuple((cast("Signal", name), _pattern(entries)) for name, entries in lists["whole"].items()),
        courtesy=tuple((cast("Signal", name), kind) for name, kind in courtesy.items() if name != "filler"),
        filler=courtesy["filler"],
    )


def words(text: str) -> list[str]:
    """The words of `text`, lower case, without punctuation; an emoji that the lists know counts as a word."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).translate(_APOSTROPHES).casefold()
    return _WORD.findall(plain) + [letter for letter in plain if letter in _EMOJI]


def asks(text: str) -> bool:
    """Whether `text` is a question: by its mark, its beginning, or a question word of Hinglish, Hindi or Tamil."""
    return text.rstrip().endswith(("?", "？")) or _ASKS.search(text) is not None


def wants(text: str) -> bool:
    """Whether `text` asks without a question: it names a wish or a trouble."""
    return _WANTS.search(text.translate(_APOSTROPHES)) is not None


def tells(text: str) -> bool:
    """Whether `text` only says what somebody did, as "I gave 500 last week" does and "tax receipt" does not."""
    return _TELLS.search(text.translate(_APOSTROPHES)) is not None and not asks(text) and not wants(text)


def signal_of(text: str) -> Signal | None:
    """What `text` says plainly, or None when it takes reading. Signs and emoji alone ask for nothing."""
    spoken = words(text)
    if not spoken:
        return "acknowledgement" if text.strip() else None
    phrase = " ".join(spoken)
    lists = lexicon()
    for signal, pattern in lists.anywhere:
        if pattern.search(phrase):
            return signal
    for signal, pattern in lists.whole:
        if pattern.fullmatch(phrase):
            return signal
    return _courtesy(spoken, lists)


def _courtesy(spoken: list[str], lists: Lexicon) -> Signal | None:
    if len(spoken) > _COURTESY_WORDS_MAX:
        return None
    said = {_squeeze(word) for word in spoken}
    if said - lists.filler.union(*(vocabulary for _, vocabulary in lists.courtesy)):
        return None
    return next((signal for signal, vocabulary in lists.courtesy if said & vocabulary), None)


def _pattern(entries: list[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{'|'.join(entries)})(?!\S)")


def _squeeze(word: str) -> str:
    """`hiiii` is `hi`: a letter three times or more counts once."""
    return re.sub(r"(\w)\1{2,}", r"\1", word)
