"""Every graph that a run may be of. A new graph is one entry here, and one line in `langgraph.json`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from pydantic import TypeAdapter, ValidationError

from core.errors import NotFound, RequestInvalid
from graphs import conversation, hand_off
from graphs.conversation import ConversationGraph
from graphs.hand_off import HandOffAnswer


@dataclass(frozen=True, slots=True)
class RegisteredGraph:
    """A graph, and what the answers to its questions must look like."""

    name: str
    #: A run that began under another version begins anew from its recorded input: what it had done it does not repeat,
    #: because the keys of effects and calls stay the same.
    version: str
    build: Callable[[BaseCheckpointSaver[Any] | None], ConversationGraph]
    #: The closed type of the answer, by slot. Any: each graph's own.
    answers: Mapping[str, Any]

    def check_answer(self, slot: str, answer: object) -> Any:  # Any: JSON
        """The answer, as the graph takes it.

        Raises:
            RequestInvalid: it is not of the closed type of this question.
        """
        if slot not in self.answers:
            raise RequestInvalid(f"the graph {self.name} asks no question {slot!r}; it asks {', '.join(self.answers)}")
        try:
            return TypeAdapter[Any](self.answers[slot]).validate_python(answer, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(("answer", *map(str, first["loc"])))
            raise RequestInvalid(f"{place}: {first['msg']}; it answers the question {slot!r} of {self.name}") from None


GRAPHS: Mapping[str, RegisteredGraph] = MappingProxyType(
    {
        graph.name: graph
        for graph in (
            RegisteredGraph("conversation", conversation.GRAPH_VERSION, conversation.build_conversation_graph, {}),
            RegisteredGraph(
                "hand_off", hand_off.GRAPH_VERSION, hand_off.build_hand_off_graph, {hand_off.ANSWER: HandOffAnswer}
            ),
        )
    }
)


def graph_named(name: str) -> RegisteredGraph:
    """The graph with this name.

    Raises:
        NotFound: there is none.
    """
    try:
        return GRAPHS[name]
    except KeyError:
        raise NotFound(f"there is no graph {name!r}; there are {', '.join(sorted(GRAPHS))}") from None
