"""The edited state that a fork begins with: which fields may be edited, and that each has the shape it has there."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from core.errors import RequestInvalid
from graphs.registry import graph_named
from graphs.state import ConversationState

#: Who a run acts for is not edited: it follows from the run that is forked.
IDENTITY = frozenset(
    {"tenant_id", "conversation_id", "contact_id", "channel", "account_id", "run_id", "graph_version", "prompt_refs",
     "recipient"}
)  # fmt: skip
#: Nor who wrote what, nor what is done: that follows from the decision.
DERIVED = frozenset({"trail", "effects"})
#: Checked against what its graph takes for an answer.
ANSWER = "answer"


class SaidBefore(TypedDict):
    """An earlier message, as a run's row keeps it."""

    role: Literal["user", "assistant"]
    content: str


def checked_values(
    values: Mapping[str, Any],  # Any: JSON
    *,
    graph: str,
    trigger_ids: Sequence[str],
) -> dict[str, Any]:  # Any: JSON
    """The edited fields of the state of a graph. `trigger_ids` are the messages that the run was to answer.

    Raises:
        RequestInvalid: one is unknown, may not be edited, or has another shape; the message names it.
    """
    for name, value in values.items():
        if name == ANSWER and graph_named(graph).answers:
            _check_answer(graph, value)
        elif name in _fields():
            _check(("values", name), value, _fields()[name])
        else:
            editable = ", ".join(sorted(_fields()))
            raise RequestInvalid(f"values.{name[:64]}: no field of the state that may be edited; these may: {editable}")
    for message in values.get("trigger", ()):
        if message["message_id"] not in trigger_ids:
            raise RequestInvalid(
                f"values.trigger: {message['message_id'][:64]!r} is no message of this run, whose are"
                f" {', '.join(trigger_ids) or 'none'}"
            )
    return dict(values)


@cache
def _fields() -> dict[str, TypeAdapter[Any]]:  # Any: of every field its own type
    hints = get_type_hints(ConversationState) | {"messages": list[SaidBefore]}
    return {name: TypeAdapter(hint) for name, hint in hints.items() if name not in IDENTITY | DERIVED | {ANSWER}}


def _check(place: tuple[str, ...], value: object, adapter: TypeAdapter[Any]) -> None:  # Any: as above
    try:
        understood = adapter.validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestInvalid(f"{'.'.join((*place, *map(str, first['loc'])))}: {first['msg']}") from None
    unknown = _not_understood(place, value, understood)
    if unknown is not None:
        raise RequestInvalid(f"{unknown}: there is no such field")


def _not_understood(place: tuple[str, ...], value: object, understood: object) -> str | None:
    """Where `value` has a field that its type does not know, which was dropped in silence."""
    if isinstance(value, Mapping) and isinstance(understood, Mapping):
        given, known = cast("Mapping[str, object]", value), cast("Mapping[str, object]", understood)
        pairs = [(str(name), name in known, inner, known.get(name)) for name, inner in given.items()]
    elif isinstance(value, list) and isinstance(understood, list):
        both = zip(cast("list[object]", value), cast("list[object]", understood), strict=True)
        pairs = [(str(index), True, inner, meant) for index, (inner, meant) in enumerate(both)]
    else:
        return None
    for name, is_known, inner, meant in pairs:
        found = _not_understood((*place, name), inner, meant) if is_known else ".".join((*place, name[:64]))
        if found is not None:
            return found
    return None


def _check_answer(graph: str, value: object) -> None:
    """A graph that asks several questions keeps the last answer in one field: it must answer one of them."""
    refusals: list[RequestInvalid] = []
    for slot in graph_named(graph).answers:
        try:
            graph_named(graph).check_answer(slot, value)
        except RequestInvalid as refusal:
            refusals.append(refusal)
        else:
            return
    raise RequestInvalid(f"values.{refusals[-1].message}")
