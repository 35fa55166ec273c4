"""Every tool that an agent may have: who may call it, what it can do, and the one gate all calls pass.

An agent is not shown a tool outside its scope, and the gate refuses a call to one whatever the model says. A tool that
fails tells the model so in words; the failure itself goes to the log.

A tool that acts on the world is an async function whose service is given the key of the call, so that it acts once
however often the step is taken; the gate keeps its answer and gives it again (`tools.receipts`):

    async def refund(payment_id: str, runtime: ToolRuntime[AgentContext, Any]) -> str:
        body = {"tenant": runtime.context.run.tenant_id, "payment": payment_id}
        answer = await post("/refunds", body, headers={"Idempotency-Key": idempotency_key()})
        return f"Refunded under {answer['id']}."

    RegisteredTool("refund", refund_tool, agents=frozenset({"payments"}), risk="act")

It raises `ProviderRefused` for a definite no, which the model is told of, and `ProviderUnclear` where the service may
have acted: then the step is taken again under the same key. One tool makes one acting call.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from langchain.agents.middleware import ToolCallRequest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command
from pydantic import JsonValue

from core.errors import Broken, ChowkError
from core.log import logger
from tools.context import AgentContext, RunContext
from tools.keys import node_path
from tools.knowledge import search_knowledge_tool
from tools.receipts import NotRecorded, call_key, call_once
from tools.refusals import is_final

#: `read` looks something up and changes nothing; `act` changes something outside the run, once.
Risk: TypeAlias = Literal["read", "act"]
ToolResult: TypeAlias = ToolMessage | Command[Any]
Execute: TypeAlias = Callable[[ToolCallRequest], Awaitable[ToolResult]]

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredTool:
    """A tool, the agents that have it, and what it can do."""

    name: str
    build: Callable[[], BaseTool]
    agents: frozenset[str]
    risk: Risk
    #: Whether the service of an acting tool takes an idempotency key.
    idempotent: bool = True
    #: For a service that takes none: what the tool answered under this key, or None if it never acted.
    lookup: Callable[[RunContext, str], Awaitable[str | None]] | None = None


TOOLS: tuple[RegisteredTool, ...] = (
    RegisteredTool("search_knowledge", search_knowledge_tool, agents=frozenset({"reply"}), risk="read"),
)


def tools_of(agent: str, table: Sequence[RegisteredTool] = TOOLS) -> list[BaseTool]:
    """The tools in this agent's scope."""
    return [entry.build() for entry in table if agent in entry.agents]


async def gate(request: ToolCallRequest, call: Execute, table: Sequence[RegisteredTool] = TOOLS) -> ToolResult:
    """Let one call of a tool through, or answer it with the reason why not. An acting call is made once.

    Raises:
        FenceLost, or an error that the same call may survive later: the step is taken again, not told to the model.
        ProviderUnclear: an acting call may have been made; so too.
        Broken: an acting tool has a defect.
    """
    context = cast("AgentContext", request.runtime.context)
    name = request.tool_call["name"]
    entry = next((entry for entry in table if entry.name == name and context.agent in entry.agents), None)
    if entry is None:
        return _refusal(request, f"There is no tool {name}. Call one of the tools you have.")
    try:
        return await (call(request) if entry.risk == "read" else _act(entry, request, call, context.run))
    except NotRecorded:
        return _refusal(request, f"What {name} answers is not recorded, and it is not called. Decide without it.")
    except ChowkError as error:
        if error.retryable or (entry.risk == "act" and (isinstance(error, Broken) or not is_final(error))):
            raise
        log.warning("tool_failed", tool=name, run_id=context.run.run_id, error=error.message)
        return _refusal(request, f"{name} failed. Decide without it.")


async def _act(entry: RegisteredTool, request: ToolCallRequest, execute: Execute, run: RunContext) -> ToolMessage:
    index = _index(request)
    if index is None:
        return _refusal(request, f"The call of {entry.name} needs an id that no other call has. Make it again.")
    lookup = entry.lookup

    async def call(_: str) -> JsonValue:
        return _stored(await execute(request))

    async def look_up(key: str) -> JsonValue:
        found = await lookup(run, key) if lookup else None
        return None if found is None else {"content": found, "status": "success", "artifact": None}

    answer = await call_once(
        run,
        key=_key(request, run, index),
        tool=entry.name,
        request=request.tool_call["args"],
        call=call,
        lookup=look_up if lookup else None,
        idempotent=entry.idempotent,
    )
    return _restored(request, answer)


def _key(request: ToolCallRequest, run: RunContext, index: int) -> str:
    where = request.runtime.execution_info
    if where is None:
        raise Broken(f"{request.tool_call['name']} acts and was called outside a graph, where a call has no place")
    return call_key(
        run.tenant_id,
        run.receipts_run_id,
        path=node_path(where.checkpoint_ns),
        step=request.runtime.config.get("metadata", {})["langgraph_step"],
        index=index,
    )


def _index(request: ToolCallRequest) -> int | None:
    """The call's place in its message; None where its id does not tell it from the others."""
    messages = cast("Sequence[object]", request.state["messages"])
    message = next(message for message in reversed(messages) if isinstance(message, AIMessage))
    places = [place for place, made in enumerate(message.tool_calls) if made["id"] == request.tool_call["id"]]
    return places[0] if len(places) == 1 else None


def _stored(result: ToolResult) -> JsonValue:
    if not isinstance(result, ToolMessage):
        raise Broken(f"an acting tool returned a {type(result).__name__}: only a message can be given again")
    content = cast("JsonValue", result.content)
    return {"content": content, "status": result.status, "artifact": result.artifact}


def _restored(request: ToolCallRequest, answer: Any) -> ToolMessage:  # Any: JSON, as `_stored` made it
    call = request.tool_call
    return ToolMessage(
        content=answer["content"], status=answer["status"], artifact=answer["artifact"], name=call["name"],
        tool_call_id=call["id"] or "",
    )  # fmt: skip


def _refusal(request: ToolCallRequest, reason: str) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(content=reason, name=call["name"], tool_call_id=call["id"] or "", status="error")
