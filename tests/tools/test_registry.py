from typing import Any, cast

import pytest
from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.runtime import ExecutionInfo
from langgraph.types import Command

from core.errors import Broken, FenceLost, NotDurable, NotFound, ProviderUnclear
from tests.graphs.turns import a_context
from tests.tools.held_run import HeldRun
from tools.context import AgentContext, RunContext
from tools.receipts import idempotency_key
from tools.registry import TOOLS, RegisteredTool, gate, tools_of


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


def acting(**fields: Any) -> tuple[RegisteredTool]:
    """A table with one tool that acts. It is never built: the request says what is called."""
    return (RegisteredTool("pledge", cast("Any", None), frozenset({"reply"}), risk="act", **fields),)


def an_act(context: RunContext, *ids: str, call: str = "") -> ToolCallRequest:
    """One call out of a message with calls under these ids, as the graph hands it over."""
    made: Any = [{"name": "pledge", "args": {"n": 1}, "id": name, "type": "tool_call"} for name in ids]
    runtime: Any = RuntimeOf("reply")
    runtime.context = AgentContext(run=context, agent="reply", system="")
    runtime.execution_info = ExecutionInfo("", "reply:5f2c|tools:9c1d", "")
    runtime.config = {"metadata": {"langgraph_step": 2}}
    this = next(entry for entry in made if entry["id"] == (call or ids[0]))
    return ToolCallRequest(
        tool_call=this, tool=None, state={"messages": [AIMessage("", tool_calls=made)]}, runtime=runtime
    )


async def keyed(request: ToolCallRequest) -> ToolMessage:
    return ToolMessage(idempotency_key(), tool_call_id=request.tool_call["id"] or "", artifact={"a": 1})


async def forbidden(_: ToolCallRequest) -> ToolMessage:
    raise AssertionError("nothing may be called")


async def test_an_answer_is_given_again_under_the_id_of_the_new_call(run: HeldRun) -> None:
    first = await gate(an_act(run.context(), "x"), keyed, acting())
    again = await gate(an_act(run.context(), "y"), forbidden, acting())
    assert isinstance(first, ToolMessage)
    assert isinstance(again, ToolMessage)
    assert (first.tool_call_id, again.tool_call_id) == ("x", "y")
    assert again == first.model_copy(update={"tool_call_id": "y"})
    assert first.artifact == {"a": 1}


async def test_calls_of_one_message_have_keys_of_their_own(run: HeldRun) -> None:
    first = await gate(an_act(run.context(), "x", "y", call="x"), keyed, acting())
    second = await gate(an_act(run.context(), "x", "y", call="y"), keyed, acting())
    assert {receipt["key"] for receipt in await run.receipts()} == {first.content, second.content}  # type: ignore[union-attr]
    assert first.content != second.content  # type: ignore[union-attr]


async def test_a_call_whose_id_another_call_has_is_not_made() -> None:
    message = await gate(an_act(a_context(), "x", "x"), forbidden, acting())
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    assert "needs an id that no other call has" in str(message.content)


async def test_an_acting_tool_outside_a_graph_is_a_defect() -> None:
    request = an_act(a_context(), "x")
    request.runtime.execution_info = None
    with pytest.raises(Broken, match="outside a graph"):
        await gate(request, forbidden, acting())


async def test_an_acting_tool_that_returns_no_message_is_a_defect(run: HeldRun) -> None:
    async def command(_: ToolCallRequest) -> Command[Any]:
        return Command(update={})

    for call in (command, forbidden):
        with pytest.raises(Broken, match="returned a Command"):
            await gate(an_act(run.context(), "x"), call, acting())


async def test_a_tool_of_a_service_without_keys_finds_out_what_it_did(run: HeldRun) -> None:
    async def look_up(context: RunContext, key: str) -> str:
        assert context.run_id == run.run_id
        return f"done under {key}"

    table = acting(idempotent=False, lookup=look_up)
    with pytest.raises(ProviderUnclear):
        await gate(an_act(run.context(), "x"), failing(ProviderUnclear("lost")), table)
    found = await gate(an_act(run.context(), "x"), forbidden, table)
    [receipt] = await run.receipts()
    assert isinstance(found, ToolMessage)
    assert (found.content, found.status, found.artifact) == (f"done under {receipt['key']}", "success", None)


async def test_an_unclear_outcome_of_a_reading_tool_is_told_to_the_model() -> None:
    message = await gate(a_request(), failing(ProviderUnclear("no answer")))
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
