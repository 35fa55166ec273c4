import json

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.chaos.bodies import Writer, message_id
from bench.chaos.dangers import CALM_AFTER_MS, CHILD_GAP_MS, SUPERVISED, SUPERVISED_GAP_MS
from bench.chaos.expectation import expectation_of
from bench.chaos.questions import ANSWERED, UNANSWERED
from bench.chaos.scenario import schedule_of
from bench.chaos.schedule import STORIES, TARGETS, Schedule
from channels.whatsapp.inbound import normalise

schedules = st.builds(
    schedule_of,
    st.integers(min_value=0, max_value=10**6),
    st.floats(min_value=5, max_value=120),
    st.floats(min_value=0.5, max_value=4),
    redis_dead=st.booleans(),
)
few = settings(max_examples=25, deadline=None)


def writer(schedule: Schedule) -> Writer:
    return Writer(schedule, {"asha": "1000", "nagar": "2000"}, 1_790_000_000)


@few
@given(st.integers(), st.floats(min_value=5, max_value=120), st.floats(min_value=0.5, max_value=4))
def test_the_same_seed_gives_the_same_schedule_and_the_same_bytes(seed: int, seconds: float, rate: float) -> None:
    one, other = schedule_of(seed, seconds, rate), schedule_of(seed, seconds, rate)
    assert one == other
    assert json.dumps(one.as_json()) == json.dumps(other.as_json())
    bodies = range(len(one.bodies))
    assert [writer(one).body(number) for number in bodies] == [writer(other).body(number) for number in bodies]


@few
@given(st.integers(min_value=0, max_value=10**6))
def test_another_seed_gives_another_schedule(seed: int) -> None:
    assert schedule_of(seed, 20, 2).posts != schedule_of(seed + 1, 20, 2).posts


@few
@given(st.integers(min_value=0, max_value=10**6))
def test_what_strangers_do_does_not_depend_on_what_is_killed(seed: int) -> None:
    killing, calm = schedule_of(seed, 30, 2), schedule_of(seed, 30, 2, calm=True)
    assert (calm.kills, calm.disturbances) == ((), ())
    assert (killing.events, killing.bodies, killing.posts) == (calm.events, calm.bodies, calm.posts)


@few
@given(schedules)
def test_every_event_is_posted_and_none_before_it_happens(schedule: Schedule) -> None:
    posted: dict[int, int] = {}
    for post in (*schedule.posts, *schedule.epilogue):
        for event in schedule.bodies[post.body].events:
            posted[event] = min(posted.get(event, post.at_ms), post.at_ms)
    assert posted.keys() == set(range(len(schedule.events)))
    happened = {number: event.at_ms for number, event in enumerate(schedule.events) if not event.epilogue}
    assert all(posted[number] >= at_ms for number, at_ms in happened.items())
    assert list(schedule.posts) == sorted(schedule.posts, key=lambda post: post.at_ms)


@few
@given(schedules)
def test_every_story_is_told_and_every_kind_of_body_is_posted(schedule: Schedule) -> None:
    assert {one.story for one in schedule.conversations} == set(STORIES)
    assert {body.kind for body in schedule.bodies} == {"signed", "unsigned", "wrong_signature", "not_json"}
    assert len({one.sender for one in schedule.conversations}) == len(schedule.conversations)


@few
@given(schedules)
def test_what_dies_has_had_time_to_come_back_and_postgres_comes_back_in_calm(schedule: Schedule) -> None:
    assert list(schedule.kills) == sorted(schedule.kills, key=lambda kill: kill.at_ms)
    last: dict[str, int] = {}
    for kill in schedule.kills:
        gap_ms = SUPERVISED_GAP_MS if kill.target in SUPERVISED else CHILD_GAP_MS
        assert kill.at_ms - last.get(kill.target, -gap_ms) >= gap_ms
        last[kill.target] = kill.at_ms
    if schedule.seconds > 60:
        for kill, later in zip(schedule.kills, schedule.kills[1:], strict=False):
            assert later.at_ms - kill.at_ms >= CALM_AFTER_MS.get(kill.target, 0)


def test_a_long_schedule_kills_everything_and_disturbs_every_network() -> None:
    schedule = schedule_of(7, 300, 1)
    assert {kill.target for kill in schedule.kills} == set(TARGETS)
    assert {one.server for one in schedule.disturbances} == {"postgres", "redis", "provider"}
    without = schedule_of(7, 300, 1, redis_dead=True)
    assert "redis" not in {kill.target for kill in without.kills} | {one.server for one in without.disturbances}


@few
@given(schedules)
def test_no_message_is_unclear_and_never_taken_twice(schedule: Schedule) -> None:
    for calls in schedule.calls:
        assert sum(call.fault in ("broken_off", "silent") for call in calls) <= 1
        if schedule.seconds < 60:
            assert not any(call.fault in ("broken_off", "silent") for call in calls)
            assert not any(call.fault == "answer_lost" and not call.statuses for call in calls)


@few
@given(schedules)
def test_what_is_posted_is_what_the_model_expects(schedule: Schedule) -> None:
    """The bytes, read as the product reads them, name the events of the body, and nothing else."""
    expected, of = expectation_of(schedule), {message_id(schedule.seed, n): n for n in range(len(schedule.events))}
    for number, body in enumerate(schedule.bodies):
        if body.kind != "signed":
            continue
        events = [routed.event for routed in normalise(writer(schedule).body(number))]
        known = [of[event.event_key.removeprefix("message:")] for event in events if event.kind != "unknown"]
        assert sorted(known) == sorted(n for n in body.events if schedule.events[n].kind != "unknown")
        assert len(events) == len(body.events)
    asked = {event.text for event in schedule.events if event.kind == "message"}
    assert asked <= {text for texts in ANSWERED.values() for text in texts} | set(UNANSWERED)
    for number, message in expected.messages.items():
        event = schedule.events[number]
        assert message.deleted == (message.text is None)
        assert message.edited == (message.text not in (event.text, None)) or message.edited
