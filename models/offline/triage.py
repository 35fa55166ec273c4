"""The offline choice of a route: by the word lists and the script alone."""

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from models.offline.choice import Choice
from models.offline.language import language_of
from models.offline.lexicon import FOR_A_PERSON, signal_of
from models.offline.prompt import block

_REASONS = {"override": "override", "person": "person_asked", "stop": "opt_out"}
_ROUTES = {
    "greeting": ("greet", "greeting"),
    "start": ("greet", "opt_in"),
    "thanks": ("thank", "thanks"),
    "acknowledgement": ("silent", "acknowledgement"),
}


def choose_triage(messages: Sequence[BaseMessage], bound: frozenset[str]) -> Choice:
    """Route the turn. Anything that is not plainly a courtesy or a matter for a person is a question."""
    del bound  # one schema, one way to fill it
    texts = [str(entry["text"]) for entry in block(messages, "messages")]
    signals = [signal_of(text) for text in texts]
    route, reason = "reply", "question"
    if not FOR_A_PERSON.isdisjoint(signals):
        route, reason = "hand_off", next(_REASONS.get(signal, "safety") for signal in signals if signal in FOR_A_PERSON)
    elif None not in signals:
        route, reason = next((_ROUTES[kind] for kind in _ROUTES if kind in signals), ("hand_off", "unreadable"))
    default = next((str(entry["language"]) for entry in block(messages, "default")), "en")
    language = language_of(" ".join(texts), default=default)
    return Choice("TriageDecision", {"route": route, "reason": reason, "language": language}, route, 1.0)
