"""How events reach us: alone or in batches, late, several times, in other batches, beside what must be refused."""

import random
from collections.abc import Sequence

from bench.chaos.schedule import Body, Event, Post

#: Of every hundred events so many are …
LATE_PERCENT = 12
REPEATED_PERCENT = 25
#: Of every hundred events so many begin a batch with those that follow.
BATCH_PERCENT = 12
BATCH_EVENTS_MAX = 6
#: Of every hundred batches so many carry events that also come alone.
REBATCH_PERCENT = 50
LATE_MS_MAX = 2500
REPEAT_MS_MAX = 1500
#: Every so many events, a body is posted that must not be taken, and one that becomes a dead letter.
STRANGE_EVERY = 60
#: Pause between the posts of the epilogue.
EPILOGUE_GAP_MS = 40


class Posting:
    """Bodies and posts as they are made up."""

    def __init__(self, rng: random.Random, events: Sequence[Event]) -> None:
        self.bodies: list[Body] = []
        self.posts: list[Post] = []
        self._rng = rng
        self._events = events
        #: Events that come in a batch only.
        self._batched: set[int] = set()

    def post_all(self) -> None:
        """Have every event outside the epilogue posted at least once, in posts sorted by their time."""
        waiting = sorted(
            (number for number, event in enumerate(self._events) if not event.epilogue),
            key=lambda number: self._events[number].at_ms,
        )
        for place, number in enumerate(waiting):
            if place % STRANGE_EVERY == 0:
                self._post_strange(self._events[number].at_ms)
            if self._percent(BATCH_PERCENT):
                self._post_batch(waiting[place : place + self._rng.randint(2, BATCH_EVENTS_MAX)])
        for number in waiting:
            if number not in self._batched:
                self._post_alone(number)
        self.posts.sort(key=lambda post: (post.at_ms, post.body))

    def epilogue(self, asked: Sequence[int]) -> list[Post]:
        """One post for each of these events."""
        posts: list[Post] = []
        for place, number in enumerate(asked):
            posts.append(Post(place * EPILOGUE_GAP_MS, self._body(Body((number,)))))
        return posts

    def _post_alone(self, number: int) -> None:
        at_ms = self._events[number].at_ms + self._lateness_ms()
        self._post_copies(self._body(Body((number,))), at_ms)

    def _post_batch(self, numbers: Sequence[int]) -> None:
        """A batch in another order than it happened, once the last of it has."""
        order = list(numbers)
        self._rng.shuffle(order)
        at_ms = max(self._events[number].at_ms for number in order) + self._lateness_ms()
        if not self._percent(REBATCH_PERCENT):
            self._batched.update(order)
        self._post_copies(self._body(Body(tuple(order))), at_ms)

    def _post_copies(self, body: int, at_ms: int) -> None:
        copies = self._rng.randint(2, 4) if self._percent(REPEATED_PERCENT) else 1
        self.posts.append(Post(at_ms, body))
        for _ in range(copies - 1):
            self.posts.append(Post(at_ms + self._rng.randint(0, REPEAT_MS_MAX), body))

    def _post_strange(self, at_ms: int) -> None:
        for kind in ("unsigned", "wrong_signature", "not_json"):
            self.posts.append(Post(at_ms, self._body(Body((), kind))))

    def _body(self, body: Body) -> int:
        self.bodies.append(body)
        return len(self.bodies) - 1

    def _lateness_ms(self) -> int:
        return self._rng.randint(100, LATE_MS_MAX) if self._percent(LATE_PERCENT) else 0

    def _percent(self, percent: int) -> bool:
        return self._rng.randrange(100) < percent
