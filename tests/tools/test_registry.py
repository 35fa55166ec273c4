from typing import Any, cast

import pytest
from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import ToolMessage

from core.errors import FenceLost, NotDurable, NotFound
from tests.graphs.turns import a_context
from tools.context import AgentContext
from tools.registry import TOOLS, gate, tools_of


class RuntimeOf:
    """The one thing that the gate asks of a tool's runtime."""

    def __init__(self, agent: str) -> None:
        self.context = AgentContext(run=a_context(), agent=agent, system="")


def a_request(name: str = "search_knowledge", *, agent: str = "reply") -> ToolCallRequest:
    call: Any = {"name": name, "args": {}, "id": "call 1", "type": "tool_call"}
    return ToolCallRequest(tool_call=call, tool=None, state={}, runtime=cast("Any", RuntimeOf(agent)))


async def answered(_: ToolCallRequest) -> ToolMessage:
    return ToolMessage("found", tool_call_id="call 1")


def failing(error: Exception) -> Any:
    async def call(_: ToolCallRequest) -> ToolMessage:
        raise error

    return call


async def test_an_agents_own_tool_is_let_through() -> None:
    assert (await gate(a_request(), answered)).content == "found"  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "agent"), [("refund", "reply"), ("search_knowledge", "triage"), ("", "reply")])
async def test_a_tool_outside_the_agents_scope_is_refused(name: str, agent: str) -> None:
    message = await gate(a_request(name, agent=agent), answered)
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    assert message.tool_call_id == "call 1"
    assert "There is no tool" in str(message.content)


async def test_a_tool_that_fails_tells_the_model_what_to_do() -> None:
    message = await gate(a_request(), failing(NotFound("no such article")))
    assert isinstance(message, ToolMessage)
    assert message.content == "search_knowledge failed. Decide without it."


@pytest.mark.parametrize("error", [FenceLost("taken over"), NotDurable("database is away"), KeyError("a defect")])
async def test_what_the_model_cannot_help_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        await gate(a_request(), failing(error))


def test_an_agent_is_shown_only_its_tools() -> None:
    assert [tool.name for tool in tools_of("reply")] == ["search_knowledge"]
    assert tools_of("triage") == []


def test_every_tool_has_the_name_it_is_registered_under_and_takes_no_identity() -> None:
    for entry in TOOLS:
        tool = entry.build()
        assert tool.name == entry.name
        assert not {"tenant_id", "run_id", "runtime", "conversation_id"} & set(tool.args)
