"""Which language a text is in, by its script; no library guesses short Indian texts better (measured)."""

import unicodedata
from collections import Counter

#: First and last code point of a script, and the language that it decides.
_SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0900, 0x097F, "hi"),
    (0x0980, 0x09FF, "bn"),
    (0x0A00, 0x0A7F, "pa"),
    (0x0A80, 0x0AFF, "gu"),
    (0x0B00, 0x0B7F, "or"),
    (0x0B80, 0x0BFF, "ta"),
    (0x0C00, 0x0C7F, "te"),
    (0x0C80, 0x0CFF, "kn"),
    (0x0D00, 0x0D7F, "ml"),
    (0x0600, 0x06FF, "ur"),
)
#: Languages written in Devanagari: a tenant whose own language is one of these keeps it.
_DEVANAGARI = frozenset({"hi", "mr", "ne", "sa", "kok"})
#: Languages with a script of their own: Latin letters cannot be them.
_NOT_LATIN = frozenset(language for _, _, language in _SCRIPTS) | _DEVANAGARI
#: A word or two of English inside a Hindi sentence does not make it English.
_SHARE_MIN = 0.3
#: Nukta gone, candrabindu as anusvara.
_DEVANAGARI_SPELLING = {0x093C: None, 0x0901: 0x0902}


def language_of(text: str, *, default: str) -> str:
    """The language of `text` as a two-letter code; `default` where the script does not decide.

    Latin letters are `default` if that is written in them, else English (Hinglish included).
    """
    scripts = Counter(_language_of_letter(ord(letter)) for letter in text if letter.isalpha())
    letters = sum(scripts.values())
    if not letters:
        return default
    language, count = max(((name, n) for name, n in scripts.items() if name != "latin"), key=_count, default=("", 0))
    if count < _SHARE_MIN * letters:
        return "en" if default in _NOT_LATIN else default
    return default if language == "hi" and default in _DEVANAGARI else language


def one_spelling(text: str) -> str:
    """`text`, composed, with the marks of Devanagari that people leave out on a phone as if they had: मुफ़्त is मुफ्त."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).translate(_DEVANAGARI_SPELLING))


def _count(entry: tuple[str, int]) -> int:
    return entry[1]


def _language_of_letter(code_point: int) -> str:
    for first, last, language in _SCRIPTS:
        if first <= code_point <= last:
            return language
    return "latin"
