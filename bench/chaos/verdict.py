"""What the stack was told, and what is found of it in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.chaos.provider import StatusPosted


@dataclass(frozen=True, slots=True)
class Told:
    """What the stack was told, and what it answered."""

    #: The bytes of each body that was posted.
    bodies: Mapping[int, bytes]
    #: The bodies that were answered 200.
    acknowledged: frozenset[int]
    #: What was answered to those that must be refused.
    refusals: Mapping[int, int | None]
    #: Status webhooks that were answered 200.
    statuses: Sequence[StatusPosted]


@dataclass(slots=True)
class Verdict:
    """Sentences that say what is wrong, and how much of what there was."""

    violations: list[str] = field(default_factory=list[str])
    events_acknowledged: int = 0
    events_lost: int = 0
    duplicate_effects: int = 0
    calls: int = 0
    duplicate_calls: int = 0
    sends: int = 0
    sends_keyed: int = 0
    duplicate_sends_keyed: int = 0
    duplicate_sends_echoed: int = 0
    duplicate_sends_declared: int = 0
    #: Turns whose messages another turn answered while they were interrupted.
    turns_answered_elsewhere: int = 0
    #: Messages of which nobody knows whether they arrived, left to an operator.
    parked: int = 0

    def wrong(self, sentence: str) -> None:
        """Note one difference."""
        self.violations.append(sentence)
