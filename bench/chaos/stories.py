"""Who writes what and when: a stream of random numbers becomes conversations and their events."""

import random
from collections.abc import Callable, Mapping

from bench.chaos.questions import ANSWERED, UNANSWERED
from bench.chaos.schedule import STORIES, Conversation, Event, Organisation, Story

ORGANISATIONS: tuple[Organisation, ...] = ("asha", "asha", "nagar")
WEIGHTS: Mapping[Story, int] = {
    "question": 6, "chat": 3, "burst": 3, "unanswerable": 2, "mixed": 2, "edited": 2, "revoked": 2, "person": 2,
}  # fmt: skip
#: Of every hundred strangers so many have a provider that takes keys.
KEYED_PERCENT = 25
#: Every so many conversations, what belongs to none is told.
STRAY_EVERY = 12
#: A provider's clock has seconds, so that of two edits within one nobody knows the later.
EDIT_GAP_MS = 1100
#: How many conversations are asked once more after everything has come to rest.
EPILOGUE_MAX = 40


class Stories:
    """Conversations and events as they are made up."""

    def __init__(self, seed: int, rng: random.Random, *, until_ms: int) -> None:
        self.conversations: list[Conversation] = []
        self.events: list[Event] = []
        self._seed = seed
        self._rng = rng
        self._until_ms = until_ms

    def tell(self, events_min: int) -> None:
        """Make up conversations until there are so many events, each story at least once."""
        while len(self.conversations) < len(STORIES) or len(self.events) < events_min:
            if len(self.conversations) % STRAY_EVERY == 0:
                self.events.append(Event("unknown", self._moment(), None))
                self.events.append(Event("unrouted", self._moment(), None, self._rng.choice(UNANSWERED)))
            self._converse(self._next_story())

    def ask_once_more(self) -> list[int]:
        """One more question in some conversations, of each story first; gives the events."""
        by_story = sorted(
            range(len(self.conversations)), key=lambda number: (number >= len(STORIES), self._rng.random())
        )
        asked: list[int] = []
        for number in by_story[:EPILOGUE_MAX]:
            text = self._rng.choice(ANSWERED[self.conversations[number].organisation])
            asked.append(len(self.events))
            self.events.append(Event("message", self._until_ms, number, text, epilogue=True))
        return asked

    def _next_story(self) -> Story:
        told = len(self.conversations)
        if told < len(STORIES):
            return STORIES[told]
        return self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def _converse(self, story: Story) -> None:
        number = len(self.conversations)
        sender = f"9198{self._seed % 10_000:04d}{number:06d}"
        keyed = self._rng.randrange(100) < KEYED_PERCENT
        self.conversations.append(Conversation(self._rng.choice(ORGANISATIONS), story, sender, keyed=keyed))
        _TELLERS[story](self, number, self._moment())

    def message(self, number: int, at_ms: int, *, unanswerable: bool = False) -> int:
        """The stranger writes; gives the event."""
        questions = UNANSWERED if unanswerable else ANSWERED[self.conversations[number].organisation]
        text = self._rng.choice(questions)
        self.events.append(Event("message", self._until(at_ms), number, text, unanswerable=unanswerable))
        return len(self.events) - 1

    def edit(self, number: int, at_ms: int, target: int) -> None:
        """The stranger changes the words of a message."""
        text = self._rng.choice(ANSWERED[self.conversations[number].organisation])
        self.events.append(Event("edit", at_ms, number, text, target))

    def revoke(self, number: int, at_ms: int, target: int) -> None:
        """The stranger takes a message back."""
        self.events.append(Event("revoke", at_ms, number, target=target))

    def echo(self, number: int, at_ms: int) -> None:
        """A person of the organisation writes in its own app."""
        self.events.append(Event("echo", at_ms, number, "This is Meera, I will look into it."))

    def pause_ms(self, least_ms: int, most_ms: int) -> int:
        """Some time."""
        return self._rng.randint(least_ms, most_ms)

    def count(self, least: int, most: int) -> int:
        """Some number."""
        return self._rng.randint(least, most)

    def _moment(self) -> int:
        return self._rng.randrange(self._until_ms)

    def _until(self, at_ms: int) -> int:
        return min(at_ms, self._until_ms)


def _question(stories: Stories, number: int, at_ms: int) -> None:
    stories.message(number, at_ms)


def _chat(stories: Stories, number: int, at_ms: int) -> None:
    for _ in range(stories.count(2, 4)):
        stories.message(number, at_ms)
        at_ms += stories.pause_ms(800, 5000)


def _burst(stories: Stories, number: int, at_ms: int) -> None:
    for _ in range(stories.count(2, 6)):
        stories.message(number, at_ms)
        at_ms += stories.pause_ms(10, 250)


def _unanswerable(stories: Stories, number: int, at_ms: int) -> None:
    stories.message(number, at_ms, unanswerable=True)


def _mixed(stories: Stories, number: int, at_ms: int) -> None:
    first_is_answered = stories.count(0, 1) == 1
    stories.message(number, at_ms, unanswerable=not first_is_answered)
    stories.message(number, at_ms + stories.pause_ms(10, 3000), unanswerable=first_is_answered)


def _edited(stories: Stories, number: int, at_ms: int) -> None:
    target = stories.message(number, at_ms)
    for _ in range(stories.count(1, 2)):
        at_ms += stories.pause_ms(EDIT_GAP_MS, 3000)
        stories.edit(number, at_ms, target)


def _revoked(stories: Stories, number: int, at_ms: int) -> None:
    target = stories.message(number, at_ms)
    stories.revoke(number, at_ms + stories.pause_ms(20, 2000), target)


def _person(stories: Stories, number: int, at_ms: int) -> None:
    stories.message(number, at_ms)
    at_ms += stories.pause_ms(10, 2500)
    stories.echo(number, at_ms)
    for _ in range(stories.count(0, 2)):
        at_ms += stories.pause_ms(100, 2500)
        stories.message(number, at_ms)


_TELLERS: Mapping[Story, Callable[[Stories, int, int], None]] = {
    "question": _question,
    "chat": _chat,
    "burst": _burst,
    "unanswerable": _unanswerable,
    "mixed": _mixed,
    "edited": _edited,
    "revoked": _revoked,
    "person": _person,
}
