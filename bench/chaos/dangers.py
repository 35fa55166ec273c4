"""What goes wrong beside the strangers: calls of the provider, processes that die, networks that fail."""

import random
from collections.abc import Mapping, Sequence

from bench.chaos.schedule import (
    TARGETS,
    Call,
    CallFault,
    Conversation,
    Disturbance,
    Kill,
    NetworkFault,
    Server,
    Status,
    StatusName,
    Target,
)

CALLS_MAX = 3
#: By weight. What is unclear and never taken is settled a minute later: schedules shorter than that leave it out.
CALL_FAULTS: Mapping[CallFault, int] = {
    "none": 60, "unavailable": 6, "throttled": 6, "answer_lost": 10, "answer_late": 8, "broken_off": 4, "silent": 1,
}  # fmt: skip
SLOW_FAULTS: frozenset[CallFault] = frozenset({"broken_off", "silent"})
PATIENT_FROM_S = 60.0
ANSWER_LATE_MS_MAX = 2500
STATUS_LATE_MS_MAX = 3000
STATUSES: tuple[StatusName, ...] = ("sent", "delivered", "read")
#: Of every hundred calls so many have statuses in this state.
STATUS_PERCENT = {"failed": 2, "dropped": 4, "reordered": 15, "repeated": 15, "late": 15}

FIRST_MS = 1500
#: Between two kills of one process. The supervisor waits longer and longer before it starts again what dies soon.
SUPERVISED_GAP_MS = 45_000
CHILD_GAP_MS = 9000
SUPERVISED: frozenset[Target] = frozenset({"api", "worker", "worker_2", "beat", "postgres", "redis"})
KILL_GAP_MS_MIN, KILL_GAP_MS_MAX = 1200, 2500
#: Nothing else is killed before and after these, so that what the return of Postgres takes can be told.
CALM_BEFORE_MS = 1500
CALM_AFTER_MS: Mapping[Target, int] = {"postgres": 6000, "backend": 3000}
#: Longer than the lease of a turn.
PAUSE_MS = (6000, 9000)

#: What can go wrong on the way to each server, with how long it lasts and how much of it, at least and at most.
NETWORK: Mapping[tuple[Server, NetworkFault], tuple[tuple[int, int], tuple[int, int]]] = {
    ("postgres", "slow"): ((1000, 3000), (5, 40)),
    ("postgres", "reset"): ((0, 0), (0, 0)),
    ("postgres", "cut"): ((0, 0), (50, 20_000)),
    ("postgres", "silence"): ((500, 4500), (0, 0)),
    ("postgres", "refuse"): ((300, 6000), (0, 0)),
    ("redis", "reset"): ((0, 0), (0, 0)),
    ("redis", "silence"): ((1000, 6000), (0, 0)),
    ("redis", "refuse"): ((500, 4000), (0, 0)),
    ("provider", "slow"): ((1000, 3000), (20, 300)),
    ("provider", "refuse"): ((300, 2500), (0, 0)),
    ("provider", "reset"): ((0, 0), (0, 0)),
    ("provider", "silence"): ((500, 3000), (0, 0)),
}
#: These break calls off that are under way, which is unclear.
SLOW_NETWORK: frozenset[tuple[Server, NetworkFault]] = frozenset({("provider", "reset"), ("postgres", "cut")})
NETWORK_GAP_MS_MIN, NETWORK_GAP_MS_MAX = 1500, 6000


def calls_of(rng: random.Random, conversations: Sequence[Conversation], *, seconds: float) -> list[tuple[Call, ...]]:
    """How the first calls of each conversation go."""
    faults: dict[CallFault, int] = {
        fault: weight for fault, weight in CALL_FAULTS.items() if seconds >= PATIENT_FROM_S or fault not in SLOW_FAULTS
    }
    planned: list[tuple[Call, ...]] = []
    for _ in conversations:
        calls = [_call(rng, faults, patient=seconds >= PATIENT_FROM_S) for _ in range(rng.randint(0, CALLS_MAX))]
        # Twice unclear and never taken, and a message is left to an operator.
        slow = [place for place, call in enumerate(calls) if call.fault in SLOW_FAULTS]
        for place in slow[1:]:
            calls[place] = Call("none", calls[place].statuses)
        planned.append(tuple(calls))
    return planned


def _call(rng: random.Random, faults: Mapping[CallFault, int], *, patient: bool) -> Call:
    fault = rng.choices(list(faults), list(faults.values()))[0]
    delay_ms = rng.randint(100, ANSWER_LATE_MS_MAX) if fault == "answer_late" else 0
    # An answer that is lost and no status either: only a minute later is the message sent again.
    return Call(fault, _statuses(rng, may_be_dropped=patient or fault != "answer_lost"), delay_ms)


def _statuses(rng: random.Random, *, may_be_dropped: bool) -> tuple[Status, ...]:
    luck = {name: rng.randrange(100) < percent for name, percent in STATUS_PERCENT.items()}
    if luck["dropped"] and may_be_dropped:
        return ()
    if luck["failed"]:
        return (Status("failed", rng.randint(10, 500)),)
    names = list(STATUSES[: rng.randint(1, len(STATUSES))])
    delays_ms = sorted(rng.randint(0, STATUS_LATE_MS_MAX if luck["late"] else 600) for _ in names)
    if luck["reordered"]:
        rng.shuffle(names)
    copies = rng.randint(2, 3) if luck["repeated"] else 1
    return tuple(Status(name, delay_ms, copies) for name, delay_ms in zip(names, delays_ms, strict=True))


def kills_of(rng: random.Random, *, until_ms: int, redis_dead: bool) -> list[Kill]:
    """Each target in turn, in a shuffled order; then whichever was left alone for long enough."""
    targets: list[Target] = [target for target in TARGETS if not (redis_dead and target == "redis")]
    gap_ms = min(max((until_ms - FIRST_MS) // (len(targets) + 1), KILL_GAP_MS_MIN), KILL_GAP_MS_MAX)
    # Where there is little time, there is little calm.
    calm_share = gap_ms / KILL_GAP_MS_MAX
    last_ms: dict[Target, int] = {}
    first_round = rng.sample(targets, len(targets))
    kills: list[Kill] = []
    at_ms = FIRST_MS
    while at_ms < until_ms:
        target = first_round.pop() if first_round else _next_target(rng, targets, last_ms, at_ms)
        if target is not None:
            at_ms += round(CALM_BEFORE_MS * calm_share) if target in CALM_AFTER_MS else 0
            kills.append(_kill(rng, target, at_ms))
            last_ms[target] = at_ms
            at_ms += round(CALM_AFTER_MS.get(target, 0) * calm_share)
        at_ms += round(gap_ms * rng.uniform(0.7, 1.3))
    return [kill for kill in kills if kill.at_ms < until_ms]


def _next_target(
    rng: random.Random, targets: Sequence[Target], last_ms: Mapping[Target, int], at_ms: int
) -> Target | None:
    rested: list[Target] = [
        target
        for target in targets
        if at_ms - last_ms[target] >= (SUPERVISED_GAP_MS if target in SUPERVISED else CHILD_GAP_MS)
    ]
    return rng.choice(rested) if rested else None


def _kill(rng: random.Random, target: Target, at_ms: int) -> Kill:
    for_ms = rng.randint(*PAUSE_MS) if target == "worker_paused" else 0
    return Kill(at_ms, target, rng.randrange(1000), for_ms)


def disturbances_of(
    rng: random.Random, kills: Sequence[Kill], *, until_ms: int, seconds: float, redis_dead: bool
) -> list[Disturbance]:
    """Each fault of each network in turn, in shuffled rounds, never while Postgres comes back."""
    ways = [
        way
        for way in NETWORK
        if (seconds >= PATIENT_FROM_S or way not in SLOW_NETWORK) and not (redis_dead and way[0] == "redis")
    ]
    gap_ms = min(max((until_ms - FIRST_MS) // (len(ways) + 1), NETWORK_GAP_MS_MIN), NETWORK_GAP_MS_MAX)
    found: list[Disturbance] = []
    left: list[tuple[Server, NetworkFault]] = []
    at_ms = FIRST_MS + gap_ms // 2
    while at_ms < until_ms:
        left = left or rng.sample(ways, len(ways))
        server, fault = left.pop()
        for_ms, amount = (rng.randint(*limits) for limits in NETWORK[server, fault])
        disturbance = Disturbance(at_ms, server, fault, for_ms, amount)
        if not _meets_the_return_of_postgres(disturbance, kills):
            found.append(disturbance)
        at_ms += round(gap_ms * rng.uniform(0.6, 1.4))
    return found


def _meets_the_return_of_postgres(disturbance: Disturbance, kills: Sequence[Kill]) -> bool:
    if disturbance.server != "postgres":
        return False
    ended_ms = disturbance.at_ms + disturbance.for_ms
    return any(
        disturbance.at_ms < kill.at_ms + CALM_AFTER_MS[kill.target] and ended_ms > kill.at_ms - CALM_BEFORE_MS
        for kill in kills
        if kill.target in CALM_AFTER_MS
    )
