"""Asking and waiting: a node puts a question, its run waits on a thread of its own, an answer lets it go on.

LangGraph's ids of interrupts change with every checkpoint; a question keeps its slot, so that an answer finds its
question again however often the run is taken up. A node that asks does nothing else: it runs again when answered.
"""

from typing import Any, Literal, TypeAlias

from langgraph.types import interrupt
from typing_extensions import TypedDict

#: `person`: somebody of the organisation. `contact`: whom we talk to. `event`: a webhook or a job.
Asked: TypeAlias = Literal["person", "contact", "event"]


class Question(TypedDict):
    """What a run waits for. `slot` is unique within its graph; `answers` there says what an answer must look like."""

    slot: str
    asks: Asked
    #: What whoever answers must know. Any: JSON, the graph's own.
    question: dict[str, Any]


class OpenQuestion(Question):
    """A question as its run's row keeps it; `id` is LangGraph's id of the interrupt and is good for one answer."""

    id: str


def ask(slot: str, *, asks: Asked, question: dict[str, Any]) -> Any:  # Any: JSON, checked against the graph's answers
    """Wait until somebody answers; gives the answer."""
    return interrupt(Question(slot=slot, asks=asks, question=question))
