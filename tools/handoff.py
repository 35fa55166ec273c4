"""What a colleague gets to read when a conversation is handed over: the person's own words, nothing made up."""

from collections.abc import Sequence

from models.sentences import collapse

MESSAGES_MAX = 6
MESSAGE_CHARACTERS_MAX = 300
TITLES_MAX = 5


def hand_off_summary(texts: Sequence[str], *, earlier: Sequence[str] = (), titles: Sequence[str] = ()) -> str:
    """The last messages of the person, oldest first, and the articles that were looked at in vain.

    `texts` are this turn's messages ("" stands for a file), `earlier` those before it.
    """
    said = [*earlier, *(text or "(a file without words)" for text in texts)][-MESSAGES_MAX:]
    lines = [f"Customer: {_short(text)}" for text in said]
    if looked_at := list(dict.fromkeys(titles))[:TITLES_MAX]:
        lines.append(f"Looked at: {'; '.join(looked_at)}")
    return "\n".join(lines)


def _short(text: str) -> str:
    plain = collapse(text)
    return plain if len(plain) <= MESSAGE_CHARACTERS_MAX else f"{plain[:MESSAGE_CHARACTERS_MAX]}…"
