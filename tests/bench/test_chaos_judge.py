"""The model's own end, made up from the schedule, is right; each way in which it could be wrong is seen."""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.chaos.bodies import Writer, message_id
from bench.chaos.evidence import Evidence, Send
from bench.chaos.expectation import Expectation, event_key_of, expectation_of
from bench.chaos.judge import judge
from bench.chaos.killer import Killed
from bench.chaos.provider import StatusPosted
from bench.chaos.recovery import Answered, next_answers_s, open_answers_s, percentiles
from bench.chaos.scenario import schedule_of
from bench.chaos.schedule import Kill, Schedule
from bench.chaos.verdict import Told, Verdict

SCHEDULE = schedule_of(3, 20, 2, calm=True)
EXPECTED = expectation_of(SCHEDULE)
STEPS = ("recall", "triage", "reply", "guard", "emit")
T0 = 1_000.0


def told_of(schedule: Schedule, expected: Expectation) -> Told:
    writer = Writer(schedule, {"asha": "1000", "nagar": "2000"}, 1_790_000_000)
    bodies = {number: writer.body(number) for number in range(len(schedule.bodies))}
    return Told(
        bodies=bodies,
        acknowledged=frozenset(bodies) - expected.refused_bodies,
        refusals=dict.fromkeys(expected.refused_bodies, 401),
        statuses=[],
    )


class World:
    """An end as the product leaves it, where every question is a turn of its own."""

    def __init__(self) -> None:
        self.told = told_of(SCHEDULE, EXPECTED)
        self.evidence = Evidence(bodies=defaultdict(list), events=defaultdict(list), steps=defaultdict(list))
        dead: set[int] = set()
        for number in sorted(self.told.acknowledged):
            events = SCHEDULE.bodies[number].events
            brings_dead = any(EXPECTED.events[event] == "dead" and event not in dead for event in events)
            dead |= {event for event in events if EXPECTED.events[event] == "dead"}
            state = "dead" if brings_dead or number in EXPECTED.dead_bodies else "done"
            self.evidence.bodies[hashlib.sha256(self.told.bodies[number]).digest()].append(state)
        for number, state in EXPECTED.events.items():
            key = event_key_of(SCHEDULE, number) or f"unknown:{number}"
            self.evidence.events[key].append({"state": state, "error": None})
        for number, conversation in enumerate(SCHEDULE.conversations):
            owner = EXPECTED.conversations[number].owner
            self.evidence.conversations.append({"id": f"c{number}", "owner": owner, "sender": conversation.sender})
        for number, message in EXPECTED.messages.items():
            self._message(number, message)

    def _message(self, number: int, message: Any) -> None:
        run_id = f"r{number}" if message.answered else None
        self.evidence.messages.append(
            {
                "id": f"m{number}", "conversation_id": f"c{message.conversation}", "author": message.author,
                "text": message.text, "edited": message.edited, "deleted": message.deleted, "run_id": run_id,
                "provider_message_id": message_id(SCHEDULE.seed, number), "effect_key": None, "status": "received",
            }
        )  # fmt: skip
        if run_id is not None:
            self.answer(number, "handed_off" if SCHEDULE.events[number].unanswerable else "answered")

    def answer(self, number: int, outcome: str, run_id: str | None = None) -> None:
        run_id = run_id or f"r{number}"
        conversation = f"c{EXPECTED.messages[number].conversation}"
        run = {
            "id": run_id, "parent_id": None, "conversation_id": conversation, "kind": "turn", "state": "succeeded",
            "outcome": outcome, "attempts": 1, "error": None, "trigger": [f"m{number}"],
        }  # fmt: skip
        self.evidence.runs.append(run)
        if outcome == "handed_off":
            waits = {"id": f"{run_id}w", "parent_id": run_id, "kind": "hand_off", "state": "waiting", "outcome": None}
            self.evidence.runs.append(run | waits | {"trigger": []})
        self.evidence.steps[run_id] = [
            {"position": place, "node": node, "namespace": "", "error": None} for place, node in enumerate(STEPS)
        ]
        key = f"k{run_id}"
        self.evidence.effects.append(
            {
                "key": key, "kind": "send", "state": "sent", "run_id": run_id, "conversation_id": conversation,
                "resends": 0, "error": None,
            }
        )  # fmt: skip
        self.evidence.messages.append(
            {
                "id": f"o{run_id}", "conversation_id": conversation, "author": "agent", "text": "…", "edited": False,
                "deleted": False, "run_id": run_id, "provider_message_id": f"w{run_id}", "effect_key": key,
                "status": "sent",
            }
        )  # fmt: skip
        self.evidence.sends.append(Send(key, "a person", f"w{run_id}", T0 + number))

    def judged(self) -> Verdict:
        return judge(SCHEDULE, EXPECTED, self.told, self.evidence)

    def first(self, rows: str, **values: object) -> dict[str, Any]:
        wanted = values.items()
        return next(row for row in getattr(self.evidence, rows) if wanted <= row.items())

    def speak_of(self, number: int, status: str, *, at: float) -> None:
        """The provider tells a status of the first message that left, and it is kept."""
        send = self.evidence.sends[number]
        spoken = StatusPosted(send.provider_message_id, status, send.key, at)
        self.told = replace(self.told, statuses=[*self.told.statuses, spoken])
        self.evidence.statuses.append({"provider_message_id": send.provider_message_id, "status": status})
        self.first("messages", effect_key=send.key)["status"] = status


def test_an_end_as_it_must_be_has_nothing_wrong() -> None:
    verdict = World().judged()
    assert verdict.violations == []
    assert verdict.events_acknowledged == len(SCHEDULE.events)
    assert verdict.sends == len(World().evidence.sends)


def lose_a_message(world: World) -> None:
    world.evidence.messages.remove(world.first("messages", author="contact"))


def lose_an_event(world: World) -> None:
    world.evidence.events.pop(next(key for key in world.evidence.events if key.startswith("message:")))


def lose_a_body(world: World) -> None:
    world.evidence.bodies.clear()


def keep_a_body_twice(world: World) -> None:
    next(iter(world.evidence.bodies.values())).append("done")


def take_what_must_be_refused(world: World) -> None:
    number = min(EXPECTED.refused_bodies)
    world.told = replace(world.told, refusals={**world.told.refusals, number: 200})


def never_acknowledge(world: World) -> None:
    world.told = replace(world.told, acknowledged=world.told.acknowledged - {min(world.told.acknowledged)})


def forget_an_edit(world: World) -> None:
    world.first("messages", edited=True)["text"] = "as it was"


def show_what_was_taken_back(world: World) -> None:
    world.first("messages", deleted=True)["deleted"] = False


def keep_a_message_twice(world: World) -> None:
    world.evidence.messages.append({**world.first("messages", author="human"), "id": "twice"})


def leave_a_run(world: World) -> None:
    world.first("runs", kind="turn")["state"] = "running"


def leave_an_effect(world: World) -> None:
    world.evidence.effects[0]["state"] = "sending"


def answer_twice(world: World) -> None:
    number = next(number for number, message in EXPECTED.messages.items() if message.answered)
    world.answer(number, "answered", "again")


def queue_twice(world: World) -> None:
    world.evidence.effects.append(world.evidence.effects[0] | {"key": "another"})


def keep_a_key_twice(world: World) -> None:
    world.evidence.effects.append(dict(world.evidence.effects[0]))


def never_send(world: World) -> None:
    world.evidence.sends.pop()


def send_what_nobody_queued(world: World) -> None:
    world.evidence.sends.append(Send("of nothing", "a person", "w", T0))


def skip_a_step(world: World) -> None:
    next(iter(world.evidence.steps.values())).pop(2)


def repeat_a_step(world: World) -> None:
    steps = next(iter(world.evidence.steps.values()))
    steps.insert(2, dict(steps[2]))
    for place, step in enumerate(steps):
        step["position"] = place


def forget_who_owns(world: World) -> None:
    world.first("conversations", owner="person")["owner"] = "agent"


def forget_the_person(world: World) -> None:
    world.evidence.runs.remove(world.first("runs", kind="hand_off"))


def fall_back(world: World) -> None:
    world.speak_of(0, "read", at=T0 + 99)
    world.first("messages", effect_key=world.evidence.sends[0].key)["status"] = "delivered"


def forget_a_status(world: World) -> None:
    world.speak_of(0, "read", at=T0 + 99)
    world.evidence.statuses.clear()


@pytest.mark.parametrize(
    "harm",
    [
        lose_a_message, lose_an_event, lose_a_body, keep_a_body_twice, take_what_must_be_refused, never_acknowledge,
        forget_an_edit, show_what_was_taken_back, keep_a_message_twice, leave_a_run, leave_an_effect, answer_twice,
        queue_twice, keep_a_key_twice, never_send, send_what_nobody_queued, skip_a_step, repeat_a_step,
        forget_who_owns, forget_the_person, fall_back, forget_a_status,
    ],
)  # fmt: skip
def test_each_harm_is_seen(harm: Callable[[World], None]) -> None:
    world = World()
    harm(world)
    assert world.judged().violations != []


@pytest.mark.parametrize("harm", [lose_a_message, lose_an_event, forget_a_status])
def test_what_is_lost_is_counted(harm: Callable[[World], None]) -> None:
    world = World()
    harm(world)
    assert world.judged().events_lost == 1


@pytest.mark.parametrize("harm", [answer_twice, queue_twice])
def test_what_is_done_twice_is_counted(harm: Callable[[World], None]) -> None:
    world = World()
    harm(world)
    assert world.judged().duplicate_effects >= 1


def test_a_message_that_left_again_after_the_provider_had_spoken_of_it_is_wrong() -> None:
    world = World()
    first = world.evidence.sends[0]
    world.speak_of(0, "sent", at=first.at + 1)
    world.evidence.sends.append(replace(first, provider_message_id="again", at=first.at + 60))
    verdict = world.judged()
    assert (verdict.duplicate_sends_echoed, verdict.duplicate_sends_declared) == (1, 0)
    assert verdict.violations != []


def test_a_message_that_left_again_before_the_provider_had_its_time_to_speak_is_wrong() -> None:
    world = World()
    first = world.evidence.sends[0]
    world.speak_of(0, "sent", at=first.at + 3)
    world.evidence.sends.append(replace(first, provider_message_id="again", at=first.at + 1))
    assert world.judged().duplicate_sends_echoed == 1


def test_a_message_that_left_again_while_the_provider_was_silent_is_declared() -> None:
    world = World()
    first = world.evidence.sends[0]
    world.evidence.sends.append(replace(first, provider_message_id="again", at=first.at + 60))
    verdict = world.judged()
    assert (verdict.duplicate_sends_echoed, verdict.duplicate_sends_declared) == (0, 1)
    assert verdict.violations == []


def test_a_message_that_a_provider_with_keys_took_twice_is_wrong() -> None:
    world = World()
    keyed = next(one.sender for one in SCHEDULE.conversations if one.keyed)
    sends = world.evidence.sends
    sends[0] = replace(sends[0], to=keyed)
    assert world.judged().violations == []
    sends.append(replace(sends[0], provider_message_id="again", at=sends[0].at + 60))
    verdict = world.judged()
    assert (verdict.sends_keyed, verdict.duplicate_sends_keyed, verdict.duplicate_sends_declared) == (2, 1, 0)
    assert verdict.violations != []


def test_a_message_that_is_parked_after_a_second_attempt_is_left_to_an_operator() -> None:
    world = World()
    world.evidence.effects[0] |= {"state": "parked", "resends": 1}
    verdict = world.judged()
    assert (verdict.parked, verdict.violations) == (1, [])
    world.evidence.effects[0]["resends"] = 0
    assert world.judged().violations != []


def test_recovery_counts_from_the_kill_to_the_next_answer_of_what_was_open_then() -> None:
    killed = [Killed(Kill(0, "worker", 0), 1, 10.0), Killed(Kill(0, "beat", 0), 2, 50.0)]
    questions = [Answered(9.0, 9.5), Answered(9.0, 12.0), Answered(8.0, 16.0), Answered(11.0, 11.5)]
    assert next_answers_s(killed, questions) == {"worker": [2.0]}
    assert open_answers_s(killed, questions) == [2.0, 6.0]
    assert percentiles([1.0, 2.0, 3.0]) == {"p50": 2.0, "p99": 2.98}
    assert percentiles([]) == {"p50": None, "p99": None}
