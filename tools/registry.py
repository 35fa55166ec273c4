"""Every tool that an agent may have: who may call it, what it can do, and the one gate all calls pass.

An agent is not shown a tool outside its scope, and the gate refuses a call to one whatever the model says. A tool that
fails tells the model so in words; the failure itself goes to the log.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command

from core.errors import ChowkError, FenceLost
from core.log import logger
from tools.context import AgentContext
from tools.knowledge import search_knowledge_tool

#: `read` looks something up and changes nothing.
Risk: TypeAlias = Literal["read"]
ToolResult: TypeAlias = ToolMessage | Command[Any]

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredTool:
    """A tool, the agents that have it, and what it can do."""

    name: str
    build: Callable[[], BaseTool]
    agents: frozenset[str]
    risk: Risk


TOOLS: tuple[RegisteredTool, ...] = (
    RegisteredTool("search_knowledge", search_knowledge_tool, agents=frozenset({"reply"}), risk="read"),
)


def tools_of(agent: str) -> list[BaseTool]:
    """The tools in this agent's scope."""
    return [entry.build() for entry in TOOLS if agent in entry.agents]


async def gate(request: ToolCallRequest, call: Callable[[ToolCallRequest], Awaitable[ToolResult]]) -> ToolResult:
    """Let one call of a tool through, or answer it with the reason why not.

    Raises:
        FenceLost, or an error that the same call may survive later: the step is taken again, not told to the model.
    """
    context = cast("AgentContext", request.runtime.context)
    name = request.tool_call["name"]
    if not any(entry.name == name and context.agent in entry.agents for entry in TOOLS):
        return _refusal(request, f"There is no tool {name}. Call one of the tools you have.")
    try:
        return await call(request)
    except FenceLost:
        raise
    except ChowkError as error:
        if error.retryable:
            raise
        log.warning("tool_failed", tool=name, run_id=context.run.run_id, error=error.message)
        return _refusal(request, f"{name} failed. Decide without it.")


def _refusal(request: ToolCallRequest, reason: str) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(content=reason, name=call["name"], tool_call_id=call["id"] or "", status="error")
