"""Stop words, in English, Hinglish, Hindi and Tamil: a text in, the words that carry its matter out.

A corpus in English has few Hinglish words, so that a search takes `kar` and `kya` for the rarest and most telling ones.
"""

from functools import cache
from pathlib import Path
from typing import cast

import yaml

from models.offline.lexicon import words

_FILE = Path(__file__).with_name("stopwords.yaml")


@cache
def stopwords() -> frozenset[str]:
    """The words that say nothing about the matter."""
    lists = cast("dict[str, str]", yaml.safe_load(_FILE.read_text(encoding="utf-8")))
    return frozenset(word for vocabulary in lists.values() for word in vocabulary.split())


def matter_of(text: str) -> str:
    """`text` without its stop words, or as it is where it has no others."""
    kept = [part for part in text.split() if not stopwords().issuperset(words(part))]
    return " ".join(kept) or text
