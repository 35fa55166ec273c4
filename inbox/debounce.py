"""How long a conversation must be quiet before it is answered: it depends on how the person writes.

A message that reads as finished is answered sooner than the account's quiet time, a fragment later, and someone who is
seen to write in pieces gets a bit more than their own last pauses. Pure: a message and its burst in, milliseconds out.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from channels.events import MessageReceived

Ending: TypeAlias = Literal["finished", "open", "fragment"]

#: A burst is answered after this many quiet times of its account, even if it never pauses.
QUIET_MULTIPLE_MAX: Final = 5
#: What one press of a button sends as several messages (pictures, a forwarded thread) arrives within this time.
QUIET_MS_MIN: Final = 150
#: The longest quiet time that an account may ask for; nobody who has stopped writing waits longer.
QUIET_MS_MAX: Final = 60_000

#: How much of the account's quiet time each ending is given.
FACTORS: Final[Mapping[Ending, float]] = MappingProxyType({"finished": 0.5, "open": 1.0, "fragment": 2.0})
#: A next piece takes about as long as the ones before it; a quarter more lets a slightly slower one through.
PAUSE_FACTOR: Final = 1.25
#: The pauses between a message and this many before it tell how the person writes now.
PIECES_MAX: Final = 3

#: Whoever has written this much has said what they wanted, with or without an end mark.
LONG_CHARACTERS_MIN: Final = 120
#: "I want to know": fewer words without an end mark seldom are all that was meant.
FRAGMENT_WORDS_MAX: Final = 3

#: Chosen, not written: there is nothing to go on with.
_CHOSEN_KINDS: Final = frozenset({"interactive", "postback", "order"})
#: Sent bare, these are often followed by the question about them.
_SHOWN_KINDS: Final = frozenset({"image", "video", "document"})
#: Full stop, question and exclamation mark, danda, Urdu's, and the full-width ones.
_END_MARKS: Final = "?!.।॥؟۔？！。"
_GOING_ON: Final = ("...", "..", "…")
#: What may stand behind an end mark: emoji and their joiners, closing brackets and quotes, blanks.
_BEHIND_CATEGORIES: Final = frozenset({"So", "Sk", "Cf", "Pe", "Pf", "Zs", "Zl", "Zp", "Cc"})
_BEHIND: Final = frozenset("\"'*_~\ufe0f")
_GREETING: Final = re.compile(
    r"(?:h+i+|he+y+|h[ae]l+o+|dear|good (?:morning|afternoon|evening|day)|namaste|namaskar(?:am)?|vanakkam|"
    r"as?sala+mu? ?[aeu]laikum|salaa?m|नमस्ते|नमस्कार|வணக்கம்|السلام عليكم)"
    r"(?: (?:sir|madam|ma'?am|ji|जी|there|team|all|everyone))*|sir|madam",
    re.IGNORECASE,
)


def quiet_base_ms(*, of_account: int | None, of_channel: int | None, default: int) -> int:
    """The quiet time to adapt, in milliseconds: the account's own, else its channel's, else the process's."""
    if of_account is not None:
        return of_account
    return default if of_channel is None else of_channel


def quiet_ms(base_ms: int, ending: Ending, said_at: Sequence[datetime] = ()) -> int:
    """How long to wait from now on, in milliseconds.

    Args:
        base_ms: the quiet time of the account. 0 answers at once, whatever was written.
        ending: how the newest message reads.
        said_at: when the newest messages of the unanswered burst were said, in any order.
    """
    longest_ms = min(base_ms * QUIET_MULTIPLE_MAX, QUIET_MS_MAX)
    wanted_ms = max(base_ms * FACTORS[ending], _pieces_ms(said_at, longest_ms))
    return round(min(max(wanted_ms, min(base_ms, QUIET_MS_MIN)), longest_ms))


def ending_of(message: MessageReceived) -> Ending:
    """How a message reads: as all that was meant, as a part of it, or as either."""
    if message.payload is not None or message.message_kind in _CHOSEN_KINDS:
        return "finished"
    text = (message.text or "").strip()
    if not text:
        return "fragment" if message.message_kind in _SHOWN_KINDS else "open"
    return _ending_of_text(text)


def _ending_of_text(text: str) -> Ending:
    body = _without_what_stands_behind(text)
    if not body:
        return "open"
    words = body.rstrip(_END_MARKS + "…,").replace(",", " ").split()
    if body.endswith(_GOING_ON) or _GREETING.fullmatch(" ".join(words)):
        return "fragment"
    if body[-1] in _END_MARKS or len(text) >= LONG_CHARACTERS_MIN:
        return "finished"
    return "fragment" if len(words) <= FRAGMENT_WORDS_MAX else "open"


def _without_what_stands_behind(text: str) -> str:
    end = len(text)
    while end and (text[end - 1] in _BEHIND or unicodedata.category(text[end - 1]) in _BEHIND_CATEGORIES):
        end -= 1
    return text[:end]


def _pieces_ms(said_at: Sequence[datetime], longest_ms: int) -> float:
    """A bit more than the longest of the last pauses; 0 where no wait of ours could have bridged one."""
    newest = sorted(said_at)[-PIECES_MAX - 1 :]
    pauses_ms = ((later - earlier).total_seconds() * 1000 * PAUSE_FACTOR for earlier, later in pairwise(newest))
    return max((pause for pause in pauses_ms if pause <= longest_ms), default=0)
