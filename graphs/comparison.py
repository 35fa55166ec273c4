"""Where a fork or a replay went another way than the run it repeats: step by step, in its decision, in its effects.

Pure: rows of the record go in, and nothing else is looked at. What differs between any two lives of the same run says
nothing and is passed over: ids of messages and of calls, the run's own id, times, and what a model's answer weighed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

#: A row of `checkpoints.operations.steps_of`. Any: columns.
Step: TypeAlias = Mapping[str, Any]
#: Of a run's row: `checkpoint_id` and `values`. Any: JSON.
Origin: TypeAlias = Mapping[str, Any]
#: Node path, node, and how often it was taken before.
Place: TypeAlias = tuple[str, str, int]

Verdict: TypeAlias = Literal["same", "differs", "only_recorded", "only_repeated"]

#: Fields of any depth that no two lives share.
VOLATILE = frozenset({"run_id", "tool_call_id", "tokens_in", "tokens_out"})
VOLATILE_ENDINGS = ("_at", "_ms")
#: Of a message, beside its words and its calls.
VOLATILE_IN_MESSAGE = frozenset({"id", "usage_metadata", "response_metadata", "additional_kwargs"})


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that was written differently. Any: JSON; None also where it was not written."""

    field: str
    recorded: Any
    repeated: Any


@dataclass(frozen=True, slots=True)
class ComparedStep:
    """The same step of both lives; the positions are None where one did not take it."""

    namespace: str
    node: str
    occurrence: int
    verdict: Verdict
    recorded_position: int | None
    repeated_position: int | None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class SideBySide:
    """A field of the state at the end of both lives. Any: JSON; None where nobody wrote it."""

    same: bool
    recorded: Any
    repeated: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of a run and of its repetition."""

    same: bool
    decision: SideBySide
    effects: SideBySide
    steps: tuple[ComparedStep, ...]


def compare(
    recorded: Sequence[Step],
    repeated: Sequence[Step],
    *,
    recorded_origin: Origin | None = None,
    repeated_origin: Origin | None = None,
) -> Comparison:
    """Compare the steps of a run with those of its fork or replay, both in order.

    An `origin` is what the run's row keeps of where it began itself, and with which edits. What led to the checkpoint
    at which the repetition began is shared, and not compared.
    """
    before, after = _split(recorded, (repeated_origin or {}).get("checkpoint_id"))
    here, there = _by_place(after), _by_place(repeated)
    steps = tuple(_compared(place, here.get(place), there.get(place)) for place in _in_order(here, there))
    begun = [*_edit(recorded_origin), *before]
    ends = ([*begun, *after], [*begun, *_edit(repeated_origin), *repeated])
    decision, effects = _side_by_side("decision", *ends), _side_by_side("effects", *ends)
    same = decision.same and effects.same and all(step.verdict == "same" for step in steps)
    return Comparison(same, decision, effects, steps)


def _edit(origin: Origin | None) -> list[Step]:
    """What was edited before the first step, in the shape of one."""
    return [] if origin is None else [{"namespace": "", "state_diff": origin["values"]}]


def _split(steps: Sequence[Step], checkpoint_id: str | None) -> tuple[Sequence[Step], Sequence[Step]]:
    """What led to the checkpoint, and what came after it."""
    if checkpoint_id is None:
        return [], steps
    after = max((place for place, step in enumerate(steps, 1) if step["checkpoint_id"] == checkpoint_id), default=0)
    return steps[:after], steps[after:]


def _by_place(steps: Sequence[Step]) -> dict[Place, Step]:
    """Steps by where they stand. One that failed and was taken again does not count."""
    last_attempt: dict[tuple[str, str], int] = {}
    for step in steps:
        key = (step["namespace"], step["node"])
        last_attempt[key] = max(step["attempt"], last_attempt.get(key, 0))
    taken: defaultdict[tuple[str, str], int] = defaultdict(int)
    places: dict[Place, Step] = {}
    for step in steps:
        key = (step["namespace"], step["node"])
        if step["error"] is None or step["attempt"] == last_attempt[key]:
            places[*key, taken[key]] = step
            taken[key] += 1
    return places


def _in_order(here: Mapping[Place, Step], there: Mapping[Place, Step]) -> list[Place]:
    """Every place once, in the order of the recorded run; what the other alone took stands after its neighbour."""
    order = list(here)
    neighbour = -1
    for place in there:
        if place in here:
            neighbour = order.index(place)
        else:
            neighbour += 1
            order.insert(neighbour, place)
    return order


def _compared(place: Place, recorded: Step | None, repeated: Step | None) -> ComparedStep:
    if recorded is None or repeated is None:
        verdict: Verdict = "only_repeated" if recorded is None else "only_recorded"
        return ComparedStep(*place, verdict, _position(recorded), _position(repeated))
    differences = tuple(_differences(recorded, repeated))
    verdict = "differs" if differences else "same"
    return ComparedStep(*place, verdict, recorded["position"], repeated["position"], differences)


def _position(step: Step | None) -> int | None:
    return None if step is None else step["position"]


def _differences(recorded: Step, repeated: Step) -> list[Difference]:
    here, there = recorded["state_diff"], repeated["state_diff"]
    found = [
        Difference(field, here.get(field), there.get(field))
        for field in sorted(here.keys() | there.keys())
        if (field in here) != (field in there) or _lasting(here[field]) != _lasting(there[field])
    ]
    if (recorded["error"] is None) != (repeated["error"] is None):
        found.append(Difference("error", recorded["error"], repeated["error"]))
    return found


def _side_by_side(field: str, recorded: Sequence[Step], repeated: Sequence[Step]) -> SideBySide:
    here, there = _last_written(field, recorded), _last_written(field, repeated)
    return SideBySide(_lasting(here) == _lasting(there), here, there)


def _last_written(field: str, steps: Sequence[Step]) -> Any:  # Any: JSON
    written = [step["state_diff"][field] for step in steps if not step["namespace"] and field in step["state_diff"]]
    return written[-1] if written else None


def _lasting(value: Any) -> Any:  # Any: JSON in, JSON out
    """A value without what no two lives share."""
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value)
        passed_over = _passed_over(entries)
        return {
            name: _lasting(inner)
            for name, inner in entries.items()
            if name not in passed_over and not name.endswith(VOLATILE_ENDINGS)
        }
    if isinstance(value, list):
        return [_lasting(inner) for inner in cast("list[Any]", value)]
    return value


def _passed_over(entries: Mapping[str, Any]) -> frozenset[str]:  # Any: JSON
    if "content" in entries and "response_metadata" in entries:
        return VOLATILE | VOLATILE_IN_MESSAGE
    if "name" in entries and "args" in entries:  # a call that a model asked for
        return VOLATILE | {"id"}
    return VOLATILE
