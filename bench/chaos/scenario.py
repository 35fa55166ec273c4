"""From a seed to a schedule: equal arguments give equal schedules, on every machine."""

import random

from bench.chaos.dangers import calls_of, disturbances_of, kills_of
from bench.chaos.posting import Posting
from bench.chaos.schedule import Schedule
from bench.chaos.stories import Stories

#: The last events fall a little before the end, so that the last kills meet work.
STORIES_END_MS = 500
#: The last thing that goes wrong falls before the end.
DANGERS_END_MS = 1000
SECONDS_MIN = 5.0


def schedule_of(
    seed: int, seconds: float, rate_per_s: float, *, calm: bool = False, redis_dead: bool = False
) -> Schedule:
    """The schedule of these seconds with about so many events a second.

    Args:
        seed: any whole number.
        seconds: how long strangers write; at least `SECONDS_MIN`.
        rate_per_s: events, not posts; posts are more.
        calm: nothing dies and no network fails; calls of the provider still go wrong.
        redis_dead: leave Redis out of what dies and fails.
    """
    length_ms = round(max(seconds, SECONDS_MIN) * 1000)
    # One stream of numbers per concern, so that more of the one leaves the others as they were.
    stories = Stories(seed, random.Random(f"{seed} stories"), until_ms=length_ms - STORIES_END_MS)
    stories.tell(round(seconds * rate_per_s))
    asked = stories.ask_once_more()
    posting = Posting(random.Random(f"{seed} posting"), stories.events)
    posting.post_all()
    epilogue = posting.epilogue(asked)
    until_ms = length_ms - DANGERS_END_MS
    kills = [] if calm else kills_of(random.Random(f"{seed} kills"), until_ms=until_ms, redis_dead=redis_dead)
    disturbances = [] if calm else disturbances_of(
        random.Random(f"{seed} networks"), kills, until_ms=until_ms, seconds=seconds, redis_dead=redis_dead
    )  # fmt: skip
    return Schedule(
        seed=seed,
        seconds=seconds,
        rate_per_s=rate_per_s,
        conversations=tuple(stories.conversations),
        events=tuple(stories.events),
        bodies=tuple(posting.bodies),
        posts=tuple(posting.posts),
        calls=tuple(calls_of(random.Random(f"{seed} calls"), stories.conversations, seconds=seconds)),
        kills=tuple(kills),
        disturbances=tuple(disturbances),
        epilogue=tuple(epilogue),
    )
