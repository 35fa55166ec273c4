"""What the offline model chose: one tool call, and how sure it is."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Choice:
    """One tool call. `confidence` is 0 to 1; `citations` are the ids of the chunks that bear it."""

    tool: str
    arguments: dict[str, Any]  # Any: the JSON that the tool takes
    action: str
    confidence: float
    citations: tuple[int, ...] = ()
