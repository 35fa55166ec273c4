"""Masking of Aadhaar numbers before the first clear text is written.

The law forbids storing them. A tenth of all 12-digit numbers pass the check digit, phone numbers and bank references
among them, so a passing run is masked only if it is grouped 4-4-4 or a word nearby says what it is, and never right
after a word that says it is something else.
"""

import re
from dataclasses import dataclass

from stdnum.in_ import aadhaar

_RUN = re.compile(r"(?<![\d])(\d{4}([ -]?)\d{4}\2\d{4})(?![\d])")
_CONTEXT = re.compile(r"aadha?ar|adhar|\buid(?:ai)?\b|आधार|ஆதார்", re.IGNORECASE)
_OTHER_NUMBER = re.compile(
    r"(?:phone|mobile|whats ?app|call|utr|rrn|ref(?:erence)?|txn|transaction|upi|payment|order|फोन|मोबाइल)"
    r"[^\d\n]{0,24}$",
    re.IGNORECASE,
)
#: How far from the number a word may stand and still say what it is, in characters.
CONTEXT_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Masked:
    """A text that may be stored, and the numbers that were in it, to be hashed with a key and forgotten."""

    text: str
    numbers: tuple[str, ...]


def mask(text: str) -> Masked:
    """Replace the first eight digits of every Aadhaar number by X."""
    numbers: list[str] = []

    def replace(found: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", found[1])
        if not aadhaar.is_valid(digits) or not _means_aadhaar(text, found):
            return found[0]
        numbers.append(digits)
        separator = found[2]
        return separator.join(("XXXX", "XXXX", digits[8:]))

    return Masked(_RUN.sub(replace, text), tuple(numbers))


def _means_aadhaar(text: str, found: re.Match[str]) -> bool:
    before = text[max(0, found.start() - CONTEXT_CHARACTERS) : found.start()]
    after = text[found.end() : found.end() + CONTEXT_CHARACTERS]
    named = _CONTEXT.search(before) or _CONTEXT.search(after)
    if named:
        return True
    return bool(found[2]) and not _OTHER_NUMBER.search(before)
