"""What to do with what a person wrote: the texts of one turn in, one closed decision out.

What is plain is decided by words alone, for every model: danger, a wish for a person, "stop", files without words.
Only the rest is asked of a model, in one call.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from agents.decisions import AgentReport, Route, TriageDecision, TriageReason, read_triage, triage_schema
from models.chat import ask, engine_of, fault_of
from models.offline.language import language_of
from models.offline.lexicon import COURTESIES, SAFETY, Signal, asks, signal_of
from tools.knowledge import tagged

_SIGNALS: dict[Signal, tuple[Route, TriageReason]] = {
    "override": ("hand_off", "override"),
    "person": ("hand_off", "person_asked"),
    "stop": ("hand_off", "opt_out"),
    "start": ("greet", "opt_in"),
}


@dataclass(frozen=True, slots=True)
class TriageTask:
    """One turn's texts (a file without words has ""), and what is needed to ask a model about them."""

    texts: Sequence[str]
    #: The language where the script does not decide.
    default_language: str
    #: The prompt, rendered, and its pin.
    instructions: str
    prompt_ref: str


def plain_triage(texts: Sequence[str], *, default_language: str) -> TriageDecision | None:
    """The decision that the words alone allow, or None when it takes a model."""
    language = language_of(" ".join(texts), default=default_language)
    if not texts:  # the turn was begun by what happened, not by words
        return TriageDecision(route="silent", reason="acknowledgement", language=language)
    signals = [signal_of(text) for text in texts if text.strip()]
    if any(signal in SAFETY for signal in signals):
        return TriageDecision(route="hand_off", reason="safety", language=language)
    for signal, (route, reason) in _SIGNALS.items():
        if signal in signals and (route == "hand_off" or set(signals) == {signal}):
            return TriageDecision(route=route, reason=reason, language=language)
    unread = any(not text.strip() for text in texts)
    if unread and COURTESIES.issuperset(signals):
        return TriageDecision(route="hand_off", reason="unreadable", language=language)
    return None


async def triage(task: TriageTask, model: BaseChatModel) -> tuple[TriageDecision | None, AgentReport]:
    """Decide what to do. None when the model's reply may not be used: then a person must look.

    Raises:
        ModelUnavailable, ModelRejected.
    """
    plain = plain_triage(task.texts, default_language=task.default_language)
    if plain is not None:
        return plain, _report("by words alone")
    messages: list[BaseMessage] = [SystemMessage(task.instructions), turn_message(task.texts)]
    bound = model.bind_tools([triage_schema()], tool_choice="any")
    reply = await ask(bound.ainvoke(messages))
    fault = fault_of(reply)
    decision = None if fault else _decision(reply)
    if decision and decision["route"] == "silent" and any(asks(text) for text in task.texts):
        decision = TriageDecision(
            route="reply", reason="question", language=decision["language"]
        )  # no model silences one
    why = fault or ("by the model" if decision else "the model did not fill in TriageDecision")
    return decision, _report(why, reply=reply, engine=engine_of(model), prompt_ref=task.prompt_ref)


def turn_message(texts: Sequence[str]) -> HumanMessage:
    """What the person wrote in this turn, as every model gets it: data between tags."""
    entries = [{"message": number, "text": text} for number, text in enumerate(texts, start=1) if text.strip()]
    return HumanMessage(tagged("messages", entries), name="turn")


def _decision(reply: AIMessage) -> TriageDecision | None:
    calls = [call for call in reply.tool_calls if call["name"] == TriageDecision.__name__]
    return read_triage(calls[0]["args"]) if len(calls) == 1 else None


def _report(
    why: str, *, reply: AIMessage | None = None, engine: str | None = None, prompt_ref: str | None = None
) -> AgentReport:
    usage = reply.usage_metadata if reply else None
    return AgentReport(
        prompt_ref=prompt_ref,
        engine=engine,
        tokens_in=usage["input_tokens"] if usage else 0,
        tokens_out=usage["output_tokens"] if usage else 0,
        tool_calls=[],
        why=why,
    )
