"""What the search must know of a language: the script it is written in, and how PostgreSQL stems it."""

from collections.abc import Mapping

from models.offline.language import language_of

LATIN = "latin"
#: The script of each language that is not written in Latin letters. Languages of one script search each other's texts.
SCRIPTS: Mapping[str, str] = {
    **dict.fromkeys(("hi", "mr", "ne", "sa", "kok"), "devanagari"),
    "bn": "bengali",
    "pa": "gurmukhi",
    "gu": "gujarati",
    "or": "odia",
    "ta": "tamil",
    "te": "telugu",
    "kn": "kannada",
    "ml": "malayalam",
    "ur": "arabic",
}
#: Text search configurations of PostgreSQL; every other language is searched word by word with `simple`.
CONFIGURATIONS: Mapping[str, str] = {"en": "english", "hi": "hindi", "ta": "tamil"}


def script_of(text: str, *, language: str) -> str:
    """The script of `text`; that of `language` where the text has no letters of its own to decide."""
    return SCRIPTS.get(language_of(text, default=language), LATIN)
