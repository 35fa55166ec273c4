"""The hand-off graph: a question that the agent left to a person waits here for that person's answer.

wait -> settle. Whoever answers may have words sent to the contact, give the conversation back to the agent, or leave
it as it is, which is also what happens when nobody answers in time.
"""

from functools import cache
from typing import Annotated, Any, Literal, TypeAlias, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from agents.decisions import AgentReport
from channels.events import Identity
from channels.messages import OutboundText
from graphs.conversation import ConversationGraph
from graphs.effects import Effect, HandBackEffect, SendEffect
from graphs.questions import ask
from graphs.state import ConversationState, TrailEntry, Update
from tools.context import RunContext

GRAPH_VERSION = "1"
#: The slot of its one question.
ANSWER = "answer"
TEXT_CHARACTERS_MAX = 4000

_CLOSED = ConfigDict(extra="forbid")


@with_config(_CLOSED)
class Reply(TypedDict):
    """Send these words to the contact, and give the conversation back to the agent."""

    action: Literal["reply"]
    text: Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]


@with_config(_CLOSED)
class HandBack(TypedDict):
    """Give the conversation back to the agent; nothing is said."""

    action: Literal["hand_back"]


@with_config(_CLOSED)
class Leave(TypedDict):
    """The conversation stays with the people. This is also what silence means."""

    action: Literal["leave"]


#: What a person does with a question that was left to them.
HandOffAnswer: TypeAlias = Annotated[Reply | HandBack | Leave, Field(discriminator="action")]


def wait(state: ConversationState) -> Update:
    """Ask the organisation's people, and wait."""
    answer = ask(ANSWER, asks="person", question=dict(state.get("hand_off", {})))
    return {"answer": answer, "trail": [_entry("wait", ["answer"], f"a person chose {answer['action']}")]}


def settle(state: ConversationState) -> Update:
    """Put the answer into effects."""
    answer = cast("Reply | HandBack | Leave", state.get("answer"))
    effects: list[Effect] = []
    if answer["action"] == "reply":
        message = OutboundText(to=Identity.model_validate(state["recipient"]), text=answer["text"])
        effects.append(
            SendEffect(
                kind="send", slot="reply", author="human", message=message.model_dump(mode="json"),
                delivery="at_least_once", citations=[],
            )
        )  # fmt: skip
    if answer["action"] != "leave":
        effects.append(HandBackEffect(kind="hand_back", slot="hand_back"))
    why = ", ".join(effect["slot"] for effect in effects) or "nothing to do"
    return {"effects": effects, "trail": [_entry("settle", ["effects"], why)]}


@cache
def _compiled() -> ConversationGraph:
    graph = StateGraph(ConversationState, context_schema=RunContext)
    graph.add_node("wait", wait)
    graph.add_node("settle", settle)
    graph.add_edge(START, "wait")
    graph.add_edge("wait", "settle")
    graph.add_edge("settle", END)
    return cast("ConversationGraph", graph.compile(name="hand_off"))


def build_hand_off_graph(checkpointer: BaseCheckpointSaver[Any] | None = None) -> ConversationGraph:
    """The hand-off graph over this checkpointer. It is compiled once per process."""
    return _compiled().copy({"checkpointer": checkpointer})


def hand_off() -> ConversationGraph:
    """The factory that `langgraph.json` names: the graph without a checkpointer."""
    return build_hand_off_graph()


def _entry(node: str, wrote: list[str], why: str) -> TrailEntry:
    report = AgentReport(prompt_ref=None, engine=None, tokens_in=0, tokens_out=0, tool_calls=[], why=why)
    return TrailEntry(node=node, author="code", wrote=wrote, memory_hits=[], report=report)
