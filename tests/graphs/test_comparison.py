"""Where two lives of a run part, and nothing else, is what a comparison finds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.comparison import compare

NODES = ("recall", "triage", "reply", "guard", "emit")
FIELDS = ("recalled", "route", "draft", "decision", "effects", "trail", "messages")

words = st.text(max_size=8)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
written = st.dictionaries(st.sampled_from(FIELDS), documents, max_size=4)


def a_step(
    node: str, *, namespace: str = "", attempt: int = 1, error: str | None = None, **written: Any
) -> dict[str, Any]:
    return {
        "position": 0, "node": node, "namespace": namespace, "attempt": attempt, "error": error,
        "checkpoint_id": None, "state_diff": written,
    }  # fmt: skip


def numbered(*steps: dict[str, Any]) -> list[dict[str, Any]]:
    return [step | {"position": position, "checkpoint_id": f"after-{position}"} for position, step in enumerate(steps)]


@st.composite
def runs(draw: st.DrawFn) -> list[dict[str, Any]]:
    steps = st.builds(
        lambda node, namespace, state_diff: a_step(node, namespace=namespace, **state_diff),
        st.sampled_from(NODES), st.sampled_from(("", "reply")), written,
    )  # fmt: skip
    return numbered(*draw(st.lists(steps, max_size=8)))


def a_message(text: str, number: int) -> dict[str, Any]:
    """What a model said, under the ids of one life."""
    call = {"id": f"call_{number}", "name": "search", "args": {"query": text}, "type": "tool_call"}
    data = {
        "id": f"lc_run--{number}", "content": text, "tool_calls": [call], "response_metadata": {"took": number},
        "usage_metadata": {"input_tokens": number}, "additional_kwargs": {"signature": number},
    }  # fmt: skip
    return {"type": "ai", "data": data}


@given(runs())
def test_a_run_is_the_same_as_itself(run: list[dict[str, Any]]) -> None:
    found = compare(run, run)
    assert found.same
    assert {step.verdict for step in found.steps} <= {"same"}
    assert len(found.steps) == len(run)


@given(runs(), runs())
def test_it_does_not_matter_which_of_two_runs_comes_first(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    mirrored = {"only_recorded": "only_repeated", "only_repeated": "only_recorded"}
    forth, back = compare(one, other), compare(other, one)
    assert (forth.same, forth.decision.same, forth.effects.same) == (back.same, back.decision.same, back.effects.same)
    there = {(step.namespace, step.node, step.occurrence): step for step in forth.steps}
    assert len(there) == len(forth.steps) == len(back.steps)
    for step in back.steps:
        twin = there[step.namespace, step.node, step.occurrence]
        assert twin.verdict == mirrored.get(step.verdict, step.verdict)
        assert {(d.field, repr(d.recorded)) for d in twin.differences} == {
            (d.field, repr(d.repeated)) for d in step.differences
        }


@given(runs().filter(len), st.data())
def test_one_change_is_found_where_it_was_made(run: list[dict[str, Any]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(run) - 1))
    field = data.draw(st.sampled_from(FIELDS))
    changed = [dict(step) for step in run]
    changed[place]["state_diff"] = run[place]["state_diff"] | {field: {"was": run[place]["state_diff"].get(field)}}
    found = compare(run, changed)
    assert not found.same
    (different,) = [step for step in found.steps if step.verdict == "differs"]
    assert different.recorded_position == place
    assert [difference.field for difference in different.differences] == [field]


@given(runs().filter(len), st.data())
def test_a_step_that_one_did_not_take_is_found(run: list[dict[str, Any]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(run) - 1))
    shorter = run[:place] + run[place + 1 :]
    found = compare(run, shorter)
    assert [step.verdict for step in found.steps].count("only_recorded") == 1
    assert not found.same


def test_what_no_two_lives_share_is_passed_over() -> None:
    def life(number: int) -> list[dict[str, Any]]:
        answer = {
            "type": "tool",
            "data": {"content": "found", "tool_call_id": f"call_{number}", "response_metadata": {}},
        }
        report = {"why": "answer", "tokens_in": number, "tokens_out": number, "duration_ms": number}
        return numbered(
            a_step("model", namespace="reply", messages=[a_message("the offices", number), answer]),
            a_step("emit", trail=[{"report": report, "decided_at": number}], effects=[{"run_id": f"run_{number}"}]),
        )

    assert compare(life(1), life(2)).same


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (a_step("a", draft=None), a_step("a")),
        (a_step("a", decision={"id": 1}), a_step("a", decision={"id": 2})),
        (a_step("a", draft=a_message("one", 1)), a_step("a", draft=a_message("two", 1))),
        (a_step("a"), a_step("a", error="ValueError")),
    ],
)
def test_what_means_something_is_not_passed_over(here: dict[str, Any], there: dict[str, Any]) -> None:
    found = compare([here], [there])
    assert [step.verdict for step in found.steps] == ["differs"]


def test_the_decision_and_the_effects_stand_side_by_side() -> None:
    recorded = numbered(a_step("guard", decision={"action": "answer"}), a_step("emit", effects=[{"kind": "send"}]))
    repeated = numbered(a_step("guard", decision={"action": "silent"}), a_step("emit", effects=[]))
    found = compare(recorded, repeated)
    assert (found.decision.recorded, found.decision.repeated) == ({"action": "answer"}, {"action": "silent"})
    assert (found.effects.recorded, found.effects.repeated) == ([{"kind": "send"}], [])
    assert (found.decision.same, found.effects.same) == (False, False)


def test_a_step_that_failed_and_was_taken_again_does_not_count() -> None:
    recorded = numbered(
        a_step("recall"), a_step("triage", error="the model is away"), a_step("triage", attempt=2, route="reply")
    )
    assert compare(recorded, numbered(a_step("recall"), a_step("triage", route="reply"))).same


def test_what_led_to_the_checkpoint_of_a_fork_is_shared() -> None:
    recorded = numbered(a_step("recall"), a_step("guard", decision="answer"), a_step("emit", effects=[1]))
    origin = {"checkpoint_id": "after-1", "values": {}}
    found = compare(recorded, numbered(a_step("emit", effects=[1])), repeated_origin=origin)
    assert found.same
    assert [step.node for step in found.steps] == ["emit"]
    assert found.decision.repeated == "answer"
    edited = compare(
        recorded, numbered(a_step("emit", effects=[1])), repeated_origin=origin | {"values": {"decision": "silent"}}
    )
    assert (edited.same, edited.decision.repeated, edited.effects.same) == (False, "silent", True)


def test_a_step_of_the_repetition_alone_stands_where_it_was_taken() -> None:
    recorded = numbered(a_step("recall"), a_step("triage"), a_step("guard"))
    repeated = numbered(a_step("recall"), a_step("triage"), a_step("reply"), a_step("guard"))
    found = compare(recorded, repeated)
    assert [(step.node, step.verdict) for step in found.steps] == [
        ("recall", "same"), ("triage", "same"), ("reply", "only_repeated"), ("guard", "same")
    ]  # fmt: skip
