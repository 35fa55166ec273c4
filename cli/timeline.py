"""A run and its steps as a person reads them: one line per step, and below it what the step changed. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

#: Any: a row, or JSON.
Row = Mapping[str, Any]

DIFF_CHARACTERS_MAX = 100
#: A person must be able to answer from what they read.
QUESTION_CHARACTERS_MAX = 1_000
#: How deep an example of an answer goes.
EXAMPLE_DEPTH_MAX = 8
STEP = "{position:>3}  {node:<18} {author:<14} {ms:>9}  {tokens:>11}  {place}"


def shown_run(run: Row) -> Iterator[str]:
    """A run in a few lines."""
    dry = ", dry" if run["dry_run"] else ""
    yield f"{run['id']}  {run['kind']} of {run['conversation_id']} in tenant {run['tenant']}{dry}"
    outcome = f" ({run['outcome']})" if run["outcome"] and run["outcome"] != run["state"] else ""
    yield f"state     {run['state']}{outcome}, attempts {run['attempts']}"
    yield f"graph     {run['graph']} {run['graph_version'] or '-'}, model {run['model'] or '-'}"
    made, begun, ended = (_time(run[name]) for name in ("created_at", "started_at", "finished_at"))
    yield f"times     made {made}, begun {begun}, ended {ended}"
    yield f"used      {run['tokens_in']} tokens in, {run['tokens_out']} out, {run['cost_usd_micros'] / 1e6:.6f} USD"
    if run["origin"]:
        checkpoint_id = run["origin"]["checkpoint_id"]
        where = f"checkpoint {checkpoint_id}" if checkpoint_id else "its start"
        yield f"repeats   {run['origin']['run_id']} from {where}"
        yield from (f"  edited {line}" for line in _abbreviated(run["origin"]["values"]))
    if run["cancel_requested_at"] and not run["finished_at"]:
        yield f"ends      at its next step: cancelled {_time(run['cancel_requested_at'])}"
    if run["error"]:
        yield f"error     {_one_line(run['error'])}"


def shown_steps(steps: Sequence[Row], *, forkable: bool) -> Iterator[str]:
    """The timeline. `forkable`: whether the checkpoints are still there to fork from."""
    heads = {"position": "#", "node": "node", "author": "author", "ms": "ms", "tokens": "tokens", "place": "checkpoint"}
    yield STEP.format(**heads)
    for step in steps:
        yield STEP.format(
            position=step["position"],
            node="/".join(part for part in (step["namespace"], step["node"]) if part),
            author=step["author"],
            ms=f"{step['duration_ms']:.1f}",
            tokens=f"{step['tokens_in']}/{step['tokens_out']}",
            place=step["checkpoint_id"] if forkable and step["checkpoint_id"] else "-",
        )
        yield from (f"       {line}" for line in _changed(step["state_diff"]))
        if step["error"]:
            yield f"       error: {_one_line(step['error'])}"


def shown_questions(run_id: str, questions: Sequence[Row]) -> Iterator[str]:
    """What the run waits for, and how it is answered."""
    for question in questions:
        yield f"waits for an answer ({question['slot']}) of a {question['asks']}, interrupt {question['id']}:"
        yield from (
            f"  {name}: {_short(value, QUESTION_CHARACTERS_MAX)}" for name, value in question["question"].items()
        )
        which = f" --interrupt {question['id']}" if len(questions) > 1 else ""
        for example in examples(question["answer_schema"] or {}):
            yield f"  chowk runs resume {run_id}{which} --answer '{json.dumps(example, ensure_ascii=False)}'"


def shown_comparison(found: Row) -> Iterator[str]:
    """Where a repetition went another way; `found` is as `/v1/runs/{id}/comparison` gives it."""
    for side in ("recorded", "repeated"):
        run = found[side]
        yield f"{side}  {run['id']}  {run['kind']}  {run['state']}  {run['outcome'] or '-'}"
    yield f"same      {_yes(found['same'])}"
    for field in ("decision", "effects"):
        yield f"{field:<9} {'same' if found[field]['same'] else 'differ' if field == 'effects' else 'differs'}"
        if not found[field]["same"]:
            yield from _both(found[field])
    for step in found["steps"]:
        node = "/".join(part for part in (step["namespace"], step["node"]) if part)
        again = f" (time {step['occurrence'] + 1})" if step["occurrence"] else ""
        yield f"  {node}{again}: {step['verdict'].replace('_', ' ')}"
        for difference in step["differences"]:
            yield f"    {difference['field']}"
            yield from (f"  {line}" for line in _both(difference))


def examples(schema: Row) -> list[Any]:  # Any: JSON
    """Answers that this JSON schema takes, one for each of its alternatives, with … where words go."""
    definitions = cast("Row", schema.get("$defs", {}))
    alternatives = cast("Sequence[Row]", schema.get("oneOf") or schema.get("anyOf") or [schema])
    return [_example(alternative, definitions, EXAMPLE_DEPTH_MAX) for alternative in alternatives if schema]


def _example(schema: Row, definitions: Row, depth: int) -> Any:  # Any: JSON
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    if alternatives and depth:
        return _example(alternatives[0], definitions, depth - 1)
    if schema.get("type") == "object" and depth:
        needed = set(schema.get("required", ()))
        properties = cast("Row", schema.get("properties", {}))
        return {name: _example(inner, definitions, depth - 1) for name, inner in properties.items() if name in needed}
    plain: dict[str, Any] = {"integer": 0, "number": 0, "boolean": True, "array": [], "null": None, "object": {}}
    return plain.get(schema.get("type", ""), "…")


def _both(sides: Row) -> Iterator[str]:
    for side in ("recorded", "repeated"):
        yield f"    {side}: {_short(sides[side])}"


def _changed(diff: Row) -> Iterator[str]:
    """What a step changed; of its entry in the trail, who wrote what is told elsewhere, and why is told here."""
    yield from _abbreviated({name: value for name, value in diff.items() if name != "trail"})
    reports = [cast("Row", entry).get("report", {}) for entry in diff.get("trail", ())]
    yield from (f"why: {_short(report['why'])}" for report in reports if "why" in report)


def _abbreviated(fields: Row, characters_max: int = DIFF_CHARACTERS_MAX) -> Iterator[str]:
    for name, value in fields.items():
        yield f"{name}: {_short(value, characters_max)}"


def _short(value: object, characters_max: int = DIFF_CHARACTERS_MAX) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = _one_line(text)
    return line if len(line) <= characters_max else f"{line[: characters_max - 1]}…"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S%z}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
