"""Answering from the organisation's own articles: one turn's texts and passages in, one closed decision out.

The loop of model and tools is LangChain's; its thread holds only this turn. Rules, passages and the window of earlier
messages are put before the model at each call and are never stored with it. Nothing here sends or promises anything:
the guard decides what becomes of the decision.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, cast

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse, ToolCallRequest
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolMessage
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from typing_extensions import override

from agents.decisions import AgentReport, ReplyDecision, read_reply, reply_schema
from agents.triage import turn_message
from models.chat import ask, engine_of, fault_of
from models.offline.chat import OfflineChatModel
from tools.context import AgentContext, RunContext
from tools.knowledge import RecalledPassage
from tools.registry import gate, tools_of

AGENT = "reply"
#: A search, a second look, and the decision.
MODEL_CALLS_MAX = 3
#: More calls than this in one message is a model that has lost its way.
TOOL_CALLS_PER_MESSAGE_MAX = 2
#: Where a reply of a model that may not be used says why.
FAULT = "chowk_fault"

#: Any: LangChain's own type of an agent has seven parameters, none of which says anything here.
ReplyAgent: TypeAlias = CompiledStateGraph[Any, AgentContext, Any, Any]


@dataclass(frozen=True, slots=True)
class ReplyTask:
    """One turn's texts, the rules with the passages in them, and the window of earlier messages."""

    texts: Sequence[str]
    #: The prompt, rendered, and its pin.
    instructions: str
    prompt_ref: str
    window: tuple[AnyMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the agent decided, the passages that it looked up by itself, and how it came to it."""

    #: None when no reply of the model may be used: `report.why` says why.
    decision: ReplyDecision | None
    found: list[RecalledPassage]
    report: AgentReport


class ReplyRules(AgentMiddleware[Any, AgentContext]):
    """What surrounds each call of the agent: the model gets its rules, the tools get their gate."""

    @override
    async def awrap_model_call(
        self,
        request: ModelRequest[AgentContext],
        handler: Callable[[ModelRequest[AgentContext]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """One call, within its limits; a reply that may not be used ends the turn without a decision.

        Raises:
            ModelUnavailable, ModelRejected.
        """
        context = request.runtime.context
        if sum(isinstance(message, AIMessage) for message in request.messages) >= MODEL_CALLS_MAX:
            return _refused("the model did not decide", AIMessage(""))
        response = await ask(
            handler(
                request.override(
                    model=context.run.chat_model,
                    system_message=SystemMessage(context.system),
                    messages=[*context.window, *request.messages],
                )
            )
        )
        reply = cast("AIMessage", response.result[0])
        fault = fault_of(reply)
        if len(reply.tool_calls) > TOOL_CALLS_PER_MESSAGE_MAX:
            fault = f"the model made {len(reply.tool_calls)} tool calls at once"
        return _refused(fault, reply) if fault else response

    @override
    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[ToolMessage | Command[Any]]]
    ) -> ToolMessage | Command[Any]:
        """Every call of a tool passes the registry's gate."""
        return await gate(request, handler)


@cache
def reply_agent() -> ReplyAgent:
    """The agent of this process. Its model comes with each run, in the context."""
    return create_agent(
        OfflineChatModel(),
        tools_of(AGENT),
        middleware=[ReplyRules()],
        # The arguments are checked where they are read: a malformed decision is a hand-off, not another call.
        response_format=ToolStrategy(reply_schema(), tool_message_content="noted"),
        context_schema=AgentContext,
    )


async def reply(task: ReplyTask, run: RunContext) -> Reply:
    """Let the agent decide. Inside a checkpointed graph its steps are checkpointed too and are not taken twice.

    Raises:
        ModelUnavailable, ModelRejected.
    """
    context = AgentContext(run=run, agent=AGENT, system=task.instructions, window=task.window)
    outcome = cast(
        "dict[str, Any]", await reply_agent().ainvoke({"messages": [turn_message(task.texts)]}, context=context)
    )
    messages = cast("list[AnyMessage]", outcome["messages"])
    replies = [message for message in messages if isinstance(message, AIMessage)]
    arguments = outcome.get("structured_response")
    decision = read_reply(arguments) if arguments is not None else None
    fault = next(
        (str(message.response_metadata[FAULT]) for message in replies if FAULT in message.response_metadata), ""
    )
    why = fault or (decision["reason"] if decision else "the model did not fill in ReplyDecision")
    found = [passage for message in messages for passage in _found_by(message)]
    return Reply(
        decision, found, _report(replies, why=why, engine=engine_of(run.chat_model), prompt_ref=task.prompt_ref)
    )


def _refused(fault: str, message: AIMessage) -> ModelResponse[Any]:
    """An empty reply in the place of `message`: without a tool call the loop ends, and without a decision too."""
    empty = AIMessage("", id=message.id, response_metadata={FAULT: fault}, usage_metadata=message.usage_metadata)
    return ModelResponse(result=[empty], structured_response=None)


def _found_by(message: AnyMessage) -> list[RecalledPassage]:
    artifact = message.artifact if isinstance(message, ToolMessage) else None
    return cast("list[RecalledPassage]", artifact or [])


def _report(replies: Sequence[AIMessage], *, why: str, engine: str, prompt_ref: str) -> AgentReport:
    usages = [message.usage_metadata for message in replies if message.usage_metadata]
    return AgentReport(
        prompt_ref=prompt_ref,
        engine=engine,
        tokens_in=sum(usage["input_tokens"] for usage in usages),
        tokens_out=sum(usage["output_tokens"] for usage in usages),
        tool_calls=[call["name"] for message in replies for call in message.tool_calls],
        why=why,
    )
