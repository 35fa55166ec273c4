"""JSON of a caller that is kept as it is: whatever JSON allows and the database can hold."""

import math
from typing import Annotated, cast

from pydantic import AfterValidator, JsonValue


def _storable(value: JsonValue) -> JsonValue:
    """The same value.

    Raises:
        ValueError: it holds a NUL character, or a number that is none.
    """
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("a text holds the character U+0000, which cannot be stored")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    if isinstance(value, list):
        for inner in value:
            _storable(inner)
    if isinstance(value, dict):
        for name, inner in value.items():
            _storable(name)
            _storable(inner)
    return value


def _storable_fields(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return cast("dict[str, JsonValue]", _storable(cast("JsonValue", values)))


#: Any JSON that can be stored.
StorableJson = Annotated[JsonValue, AfterValidator(_storable)]
#: A JSON object that can be stored.
StorableFields = Annotated[dict[str, JsonValue], AfterValidator(_storable_fields)]
