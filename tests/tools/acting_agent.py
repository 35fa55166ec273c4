"""An agent with tools that act, inside a checkpointed graph, as a process that may be killed.

`python -m tests.tools.acting_agent '{"tenant_id", "run_id", "conversation_id", "fence", "url"}'` takes the turn as far
as it goes and prints what the tools answered. With a "key" it says `ready`, waits for a line and makes that one call,
without an agent. `CHOWK_FAULT` names where it dies.
"""

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
from langchain.tools import ToolRuntime
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel, JsonValue
from typing_extensions import TypedDict

from core.errors import ProviderRefused, ProviderUnclear
from core.http import provider_client
from core.ids import RunId, TenantId
from core.settings import DatabaseSettings, load
from db.checkpoint_pool import TenantCheckpointPool
from db.faults import fault
from db.pools import open_database
from tests.tools.held_run import HeldRun
from tools.context import AgentContext, RunContext
from tools.receipts import call_once, idempotency_key
from tools.registry import RegisteredTool, ToolResult, gate, tools_of

AGENT = "payments"
#: What the model asks for, message by message.
SCRIPT: tuple[tuple[tuple[str, dict[str, Any]], ...], ...] = (
    (("pledge", {"reference": "a"}), ("count", {"word": "abc"}), ("pledge", {"reference": "b"})),
    (("pledge", {"reference": "c"}),),
)


async def act(url: str, reference: str, *, key: str | None) -> dict[str, Any]:
    """Have the service act, as a client of any service is written."""
    headers = {"Idempotency-Key": key} if key else {}
    async with provider_client(url, read_timeout_s=60) as client:
        try:
            response = await client.post("/acts", json={"reference": reference}, headers=headers)
        except httpx.ConnectError as error:
            raise ProviderRefused("nothing was sent", remedy="retry", provider_code="connect") from error
        except httpx.TransportError as error:
            raise ProviderUnclear(f"the call broke off with {type(error).__name__}") from error
    if response.is_server_error:
        raise ProviderUnclear(f"the service answered {response.status_code}")
    if response.is_error:
        raise ProviderRefused(f"refused {reference}", remedy="stop", provider_code=str(response.status_code))
    return response.json()


class PledgeArguments(BaseModel):
    reference: str


class CountArguments(BaseModel):
    word: str


def tools_at(url: str) -> tuple[RegisteredTool, ...]:
    """A tool that acts at this service, and one that acts on nothing."""

    async def pledge(reference: str, runtime: ToolRuntime[AgentContext, Any]) -> tuple[str, dict[str, Any]]:
        assert runtime.context.agent == AGENT
        answer = await act(url, reference, key=idempotency_key())
        return f"Pledged as {answer['act']}.", answer

    async def count(word: str) -> str:
        return str(len(word))

    def pledge_tool() -> BaseTool:
        return StructuredTool.from_function(
            coroutine=pledge, name="pledge", description="Pledge.", args_schema=PledgeArguments,
            response_format="content_and_artifact",
        )  # fmt: skip

    def count_tool() -> BaseTool:
        return StructuredTool.from_function(
            coroutine=count, name="count", description="Count.", args_schema=CountArguments
        )

    agents = frozenset({AGENT})
    return (
        RegisteredTool("pledge", pledge_tool, agents, risk="act"),
        RegisteredTool("count", count_tool, agents, risk="read"),
    )


class Forgetful(BaseChatModel):
    """Asks for what stands in its script, under ids that it makes up anew each time."""

    @property
    def _llm_type(self) -> str:
        return "forgetful"

    def bind_tools(self, tools: Any, **_: Any) -> Any:  # noqa: ARG002  # LangChain names it
        return self.bind()

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        asked = sum(isinstance(message, AIMessage) for message in messages)
        calls = SCRIPT[asked] if asked < len(SCRIPT) else ()
        answer = AIMessage(
            "" if calls else "done",
            tool_calls=[{"name": name, "args": args, "id": str(uuid.uuid4())} for name, args in calls],
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Gate(AgentMiddleware[Any, AgentContext]):
    def __init__(self, table: tuple[RegisteredTool, ...]) -> None:
        self.table = table

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolResult]]
    ) -> ToolResult:
        return await gate(request, handler, self.table)


class State(TypedDict):
    answers: list[dict[str, Any]]


async def take_turn(run: RunContext, url: str, *, thread_id: str | None = None) -> list[dict[str, Any]]:
    """Take the turn as far as it goes; gives what the tools answered, in order. The run has a thread of its own."""
    table = tools_at(url)
    agent = create_agent(Forgetful(), tools_of(AGENT, table), middleware=[Gate(table)], context_schema=AgentContext)

    async def reply(_: State, runtime: Runtime[RunContext]) -> State:
        context = AgentContext(run=runtime.context, agent=AGENT, system="")
        outcome = await agent.ainvoke({"messages": [HumanMessage("go")]}, context=context)
        fault("agent.replied")
        return {"answers": [plain(said) for said in outcome["messages"] if isinstance(said, ToolMessage)]}

    graph = StateGraph(State, context_schema=RunContext)
    graph.add_node("reply", reply)
    graph.add_edge(START, "reply")
    graph.add_edge("reply", END)
    saver = AsyncPostgresSaver(TenantCheckpointPool(run.database.checkpoints, run.tenant_id))
    state = await graph.compile(checkpointer=saver).ainvoke(
        {"answers": []},
        {"configurable": {"thread_id": thread_id or run.run_id}, "metadata": {"run_id": run.run_id}},
        context=run,
        durability="sync",
    )
    return state["answers"]


def plain(message: ToolMessage) -> dict[str, Any]:
    """What a model and the code after it see of an answer."""
    return {
        "name": message.name, "content": message.content, "status": message.status, "artifact": message.artifact
    }  # fmt: skip


async def one_call(run: HeldRun, scene: dict[str, Any]) -> JsonValue:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)

    async def call(key: str) -> JsonValue:
        return await act(scene["url"], "a", key=key)

    return await call_once(run.context(), key=scene["key"], tool="pledge", request={"reference": "a"}, call=call)


async def main(scene: dict[str, Any]) -> None:
    database = await open_database(load(DatabaseSettings), application="acting agent")
    run = HeldRun(
        database, TenantId(scene["tenant_id"]), RunId(scene["run_id"]), scene["conversation_id"], scene["fence"]
    )
    try:
        outcome: Any = await (one_call(run, scene) if "key" in scene else take_turn(run.context(), scene["url"]))
    except Exception as error:  # noqa: BLE001  # the test reads which
        outcome = type(error).__name__
    sys.stdout.write(json.dumps(outcome))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
