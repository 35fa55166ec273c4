"""The one normaliser that stands before every text-search vector and every query, so that the two always agree.

What comes out is for the search alone and is never shown to anyone.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from models.offline.language import one_spelling

#: Digits of a telephone number as people write it: with or without the country, in groups or in one run.
TELEPHONE_DIGITS_MIN = 7
TELEPHONE_DIGITS_MAX = 15
#: A number without its country code has at most ten digits in the countries of E.164 that we meet.
NATIONAL_DIGITS = 10

#: Stands before each added token: no pattern below reaches across it, so adding tokens never makes new ones.
_APART = " ; "
_DANDAS = "।॥"
#: PostgreSQL reads `NEFT/RTGS` as one file path and `ok.thanks` as one host name.
_GLUED = re.compile(r"(?<=\w)/(?=\w)|(?<=[^\W\d_])\.(?=[^\W\d_])")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{2,3}(?!\d))")
_DIGIT_RUN = re.compile(r"(?<![\w+])(?<!\w-)\+?\(?\d[\d ().-]*\d(?!\w)")
_ID = re.compile(r"(?<!\w)[^\W_]+(?:(?:[-_.]| / )[^\W_]+)+(?!\w)|(?<!\w)\d{1,4} [A-Za-z](?!\w)")


def search_text(text: str) -> str:
    """`text` as the search sees it; applying it twice changes nothing more.

    Composed characters (NFC), no invisible ones, one spelling of Devanagari, ASCII digits, no commas inside numbers, a
    danda as a full stop, white space folded to single spaces. Telephone numbers and ids stand a second time at the end,
    as one token each:
    `+91 98000 00001` adds `919800000001` and `9800000001`, `80-G` adds `80g`.
    """
    visible = one_spelling("".join(_plain(character) for character in text))
    folded = " ".join(_GLUED.sub(_spaced, _THOUSANDS.sub("", visible)).split())
    present = set(folded.casefold().split())
    added = dict.fromkeys(token for token in (*_telephones(folded), *_ids(folded)) if token not in present)
    return _APART.join((folded, *added))


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    if character in _DANDAS:
        return ". "
    match unicodedata.category(character):
        case "Cf" | "Cs":
            return ""
        case "Cc":
            return " "
        case "Nd":
            return str(unicodedata.decimal(character))
        case _:
            return character


def _spaced(match: re.Match[str]) -> str:
    return " / " if match.group() == "/" else ". "


def _telephones(text: str) -> Iterator[str]:
    for match in _DIGIT_RUN.finditer(text):
        for digits in _numbers_of(re.findall(r"\d+", match.group())):
            if TELEPHONE_DIGITS_MIN <= len(digits) <= TELEPHONE_DIGITS_MAX:
                yield digits
                yield digits[-NATIONAL_DIGITS:]


def _numbers_of(groups: list[str]) -> Iterator[str]:
    """Numbers that stand one behind the other: a number is complete once it has its national digits."""
    digits = ""
    for group in groups:
        digits += group
        if len(digits) >= NATIONAL_DIGITS:
            yield digits
            digits = ""
    yield digits


def _ids(text: str) -> Iterator[str]:
    for match in _ID.finditer(text):
        joined = "".join(character for character in match.group() if character.isalnum()).casefold()
        if not joined.isdigit() and not joined.isalpha():
            yield joined
