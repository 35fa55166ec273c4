"""The only place that builds chat models, and the only one that judges whether a reply of one may be used.

A model is `offline` or anything that LangChain's `init_chat_model` knows. Its own retries are off: the graph's nodes
try again, so that a retry is a step that can be seen.
"""

from collections.abc import Awaitable
from typing import Any, TypeVar, cast

import httpx
from langchain.chat_models import init_chat_model
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from core.errors import ChowkError, SettingInvalid
from core.settings import ModelSettings
from models.offline.chat import OfflineChatModel

OFFLINE = "offline"
TIMEOUT_S = 30.0
#: Total attempts of the client, so none after the first.
CLIENT_ATTEMPTS = 1
#: Ways of ending in which a reply is whole, in the words of Gemini and of the other providers, lower case.
WHOLE = frozenset({"stop", "tool_calls", "tool_use", "end_turn", "stop_sequence", "function_call"})
#: Packages whose errors come from a provider and not from us. Not all of theirs are LangChain's `ModelError`.
PROVIDER_PACKAGES = frozenset({"google", "langchain_google_genai", "openai", "anthropic", "mistralai", "botocore"})

Answer = TypeVar("Answer")


class ModelUnavailable(ChowkError):
    """The model did not answer in time, or its provider is overloaded or down. The same call may succeed later."""

    retryable = True


class ModelRejected(ChowkError):
    """The model's provider refuses the call: a wrong key, an unknown model, an input it does not take."""


def build_chat_model(settings: ModelSettings) -> BaseChatModel:
    """The chat model that the settings name. Build it once per process: a provider's library takes seconds to load.

    Raises:
        SettingInvalid: the provider is unknown or not installed, or its key is missing.
    """
    if settings.model == OFFLINE:
        return OfflineChatModel()
    provider, _, name = settings.model.partition(":")
    keywords: dict[str, Any] = {"timeout": TIMEOUT_S, "max_retries": CLIENT_ATTEMPTS}  # Any: each provider has its own
    if provider == "google_genai":
        keywords |= _google_keywords(settings, name)
    try:
        model = init_chat_model(name, model_provider=provider, **keywords)
    except (ImportError, ValueError) as error:
        raise SettingInvalid(f"CHOWK_MODEL={settings.model}: {error}") from error
    return cast("BaseChatModel", model)


async def ask(call: Awaitable[Answer]) -> Answer:
    """Await one call to a model, and make its provider's errors ours.

    Raises:
        ModelUnavailable: try again later.
        ModelRejected: trying again will not help.
    """
    try:
        return await call
    except (ModelError, httpx.HTTPError) as error:
        raise _ours(error) from error
    except Exception as error:
        # Only what a provider's own package raised is a provider's fault; the rest is ours and must be seen.
        if type(error).__module__.partition(".")[0] in PROVIDER_PACKAGES:
            raise _ours(error) from error
        raise


def fault_of(message: AIMessage) -> str | None:
    """Why this reply may not be used, or None. A cut reply parses as well as a whole one, so the ending decides."""
    metadata = cast("dict[str, Any]", message.response_metadata)
    feedback = cast("dict[str, Any]", metadata.get("prompt_feedback") or {})
    if reason := feedback.get("block_reason"):
        return f"prompt blocked: {reason}"
    ending = str(metadata.get("finish_reason") or metadata.get("stop_reason") or "")
    if ending and ending.lower() not in WHOLE:
        return f"reply ended with {ending}"
    if message.invalid_tool_calls:
        return "tool call is malformed"
    if not message.tool_calls and not message.text:
        return "reply is empty"
    return None


def engine_of(model: BaseChatModel) -> str:
    """What stands on records as the author's engine: `offline`, or the model's own name."""
    if isinstance(model, OfflineChatModel):
        return OFFLINE
    return str(getattr(model, "model", None) or getattr(model, "model_name", None) or type(model).__name__)


def _google_keywords(settings: ModelSettings, name: str) -> dict[str, Any]:
    if settings.google_api_key is None:
        raise SettingInvalid(f"CHOWK_MODEL={settings.model} needs GOOGLE_API_KEY; or set CHOWK_MODEL=offline")
    keywords: dict[str, Any] = {"google_api_key": settings.google_api_key}
    if settings.google_base_url:
        keywords["base_url"] = settings.google_base_url
    if name.removeprefix("models/").startswith(("gemini-1", "gemini-2")):
        # These sample at 0.7 unless told; later ones are made to run at their own default.
        keywords["temperature"] = 0.0
    return keywords


def _ours(error: Exception) -> ModelUnavailable | ModelRejected:
    told = f"{type(error).__name__}: {error}"[:500]
    code = getattr(error, "code", None) or getattr(error, "status_code", None)
    later = getattr(error, "is_retryable", False) or isinstance(error, httpx.HTTPError) or code in {408, 429, 500, 503}
    if later:
        return ModelUnavailable(f"the model did not answer ({told}); try again")
    return ModelRejected(f"the model's provider refuses the call ({told}); check CHOWK_MODEL and its key")
