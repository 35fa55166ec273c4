import pytest

from cli.timeline import examples


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        ({}, []),
        ({"type": "string"}, ["…"]),
        ({"type": "boolean"}, [True]),
        ({"enum": ["yes", "no"]}, ["yes"]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, [0, None]),
        ({"oneOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"const": "a"}}}, ["a"]),
        (
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "array"}, "b": {"type": "string"}}},
            [{"a": []}],
        ),
    ],
)
def test_an_example_of_an_answer_follows_its_schema(schema: dict[str, object], shown: list[object]) -> None:
    assert examples(schema) == shown


def test_a_schema_that_contains_itself_has_an_end() -> None:
    node = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/Node"}}}
    (example,) = examples({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    depth = 0
    while example:
        depth, example = depth + 1, example["next"]
    assert 1 < depth < 20
