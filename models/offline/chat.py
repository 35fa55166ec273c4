"""The offline model as LangChain knows it: messages and bound tools in, one tool call out."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from typing_extensions import override

from core.errors import Broken
from models.offline.choice import Choice
from models.offline.reply import choose_reply
from models.offline.triage import choose_triage

#: Who decides, by the name of the schema that the caller wants filled. A schema that is not here is refused.
_RULES: dict[str, Callable[[Sequence[BaseMessage], frozenset[str]], Choice]] = {
    "TriageDecision": choose_triage,
    "ReplyDecision": choose_reply,
}


class ModelIncapable(Broken):
    """The offline model was asked for something that takes a language model: its caller must not use it for that."""


class OfflineChatModel(BaseChatModel):
    """Chooses by rule among what stands in the prompt; writes no prose. Needs no key and no network."""

    model: str = "offline"

    @property
    @override
    def _llm_type(self) -> str:
        return "offline"

    @override
    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """A runnable that chooses among these tools; only their names count."""
        return self.bind(bound=frozenset(_name(tool) for tool in tools))

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        bound = cast("frozenset[str]", kwargs.get("bound", frozenset[str]()))
        rule = next((rule for schema, rule in _RULES.items() if schema in bound), None)
        if rule is None:
            raise ModelIncapable(f"the offline model fills {sorted(_RULES)}, none of which is among {sorted(bound)}")
        return ChatResult(generations=[ChatGeneration(message=_message(rule(messages, bound)))])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # A few hundred microseconds of rules: a thread would cost more than it frees.
        return self._generate(messages, stop, None, **kwargs)


def _message(choice: Choice) -> AIMessage:
    content = json.dumps([choice.tool, choice.arguments], ensure_ascii=False, sort_keys=True)
    call_id = f"call_{hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()[:24]}"
    return AIMessage(
        content="",
        tool_calls=[ToolCall(name=choice.tool, args=choice.arguments, id=call_id, type="tool_call")],
        response_metadata={
            "engine": "offline",
            "action": choice.action,
            "confidence": choice.confidence,
            "citations": list(choice.citations),
            "finish_reason": "STOP",
        },
    )


def _name(tool: dict[str, Any] | type | Callable[..., Any] | BaseTool) -> str:
    if isinstance(tool, dict):
        function = cast("dict[str, Any]", tool.get("function", tool))
        return str(function.get("name") or function.get("title"))
    return tool.name if isinstance(tool, BaseTool) else tool.__name__
