"""From the guard's decision to effects: at most one message for the whole turn, and a hand-off where one is due.

The words are an article's, the organisation's own lines, or sentences of `phrases.yaml`; none are made here.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import cast

import yaml

from agents.decisions import GroundedAnswer, TurnDecision
from channels.events import Identity
from channels.messages import OutboundText
from graphs.effects import Effect, HandOffEffect, SendEffect, SentCitation
from graphs.state import ConversationState, default_language, organisation, texts_of
from models.sentences import fit
from tools.handoff import hand_off_summary

#: The longest text of a channel, in characters (WhatsApp: 4096). What would be longer says less.
TEXT_CHARACTERS_MAX: Mapping[str, int] = {"whatsapp": 4096, "instagram": 1000, "messenger": 2000}
_TEXT_CHARACTERS_MAX = 4000

_PHRASES = Path(__file__).with_name("phrases.yaml")


def effects_of(decision: TurnDecision, state: ConversationState) -> list[Effect]:
    """What this turn does, in order."""
    effects: list[Effect] = []
    said, sent = _words(decision, state)
    if said:
        message = OutboundText(to=Identity.model_validate(state["recipient"]), text=said)
        effects.append(
            SendEffect(
                kind="send",
                slot="reply",
                message=message.model_dump(mode="json"),
                # A second copy of an answer is worse than a late one: an unclear send is settled, not repeated.
                delivery="at_least_once",
                citations=[_citation(answer) for answer in sent],
            )
        )
    if decision["hand_off"] is not None:
        effects.append(_hand_off(decision, state))
    return effects


def phrase(key: str, language: str, **values: str) -> str:
    """A sentence of the catalogue in `language`, or in English where there is none."""
    catalogue = _catalogue()
    return catalogue.get(language, catalogue["en"])[key].format(**values)


def is_offer(text: str) -> bool:
    """Whether a message of ours let the person choose among articles."""
    return text.partition("\n")[0] in {phrases["clarify"] for phrases in _catalogue().values()}


def _words(decision: TurnDecision, state: ConversationState) -> tuple[str, list[GroundedAnswer]]:
    """The text to send, "" for none, and the answers that stand in it."""
    profile, language = state["profile"], decision["language"] or default_language(state)
    match decision["action"]:
        case "answer":
            return _answers(decision, state, language)
        case "clarify":
            rows = [f"{number}. {choice['title']}" for number, choice in enumerate(decision["choices"], start=1)]
            return "\n".join([phrase("clarify", language), *rows]), []
        case "greet":
            own = _own_line(profile.get("greeting"), language)
            return own or phrase("greet", language, organisation=organisation(state)), []
        case "thank":
            return phrase("thank", language), []
        case "hand_off":
            line = _own_line(profile.get("hand_off"), language) or phrase("hand_off", language)
            unread = decision["hand_off"] == "unreadable"
            return (f"{phrase('unreadable', language)} {line}" if unread else line), []
        case "silent":
            return "", []


def _answers(decision: TurnDecision, state: ConversationState, language: str) -> tuple[str, list[GroundedAnswer]]:
    """Each answer with its source under it, as many as fit, then what is true of the whole message."""
    closing: list[str] = []
    if decision["hand_off"] is not None and state["owner"] == "agent":
        closing.append(phrase("rest", language))
    if label := _own_line(state["profile"].get("automated_label"), language):
        closing.append(label)
    room = TEXT_CHARACTERS_MAX.get(state["channel"], _TEXT_CHARACTERS_MAX) - sum(len(line) + 2 for line in closing)
    blocks: list[str] = []
    sent: list[GroundedAnswer] = []
    for answer in decision["answers"]:
        source = f"\n\n{phrase('source', language, title=answer['title'])}"
        text = fit(answer["text"], room - len(source))
        if not text:
            break
        blocks.append(text + source)
        sent.append(answer)
        room -= len(blocks[-1]) + 2
    return "\n\n".join([*blocks, *closing]) if blocks else "", sent


def _hand_off(decision: TurnDecision, state: ConversationState) -> HandOffEffect:
    recalled = state["recalled"]
    summary = hand_off_summary(
        texts_of(state),
        earlier=[str(message.text) for message in state["messages"] if message.type == "human"],
        titles=[passage["title"] for passage in recalled["passages"]] if recalled else [],
    )
    return HandOffEffect(kind="hand_off", slot="hand_off", reason=decision["hand_off"] or "", summary=summary)


def _citation(answer: GroundedAnswer) -> SentCitation:
    return SentCitation(
        article_id=answer["article_id"], chunk_id=answer["chunk_id"], title=answer["title"], quote=answer["quote"]
    )


def _own_line(lines: Mapping[str, str] | None, language: str) -> str:
    """The organisation's own line; none where it has none in this language."""
    return (lines or {}).get(language, "").strip()


@cache
def _catalogue() -> dict[str, dict[str, str]]:
    return cast("dict[str, dict[str, str]]", yaml.safe_load(_PHRASES.read_text(encoding="utf-8")))
