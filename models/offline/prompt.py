"""Reading a prompt back: the blocks of JSON that stand between tags, in the messages that any model would get."""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, ToolMessage


def block(messages: Sequence[BaseMessage], tag: str) -> list[dict[str, Any]]:
    """The entries of every `<tag>` block in what our own code wrote into these messages, in order.

    A customer's words cannot forge a block: inside one, `<` stands escaped. Words outside any block, such as the
    window of earlier messages, are not read.
    """
    pattern = re.compile(rf"<{tag}>(\[.*?\])</{tag}>", re.DOTALL)
    entries: list[dict[str, Any]] = []
    for text in _ours(messages):
        for match in pattern.finditer(text):
            entries.extend(cast("list[dict[str, Any]]", json.loads(match.group(1))))
    return entries


def earlier_messages(messages: Sequence[BaseMessage]) -> list[str]:
    """What the person wrote before this turn, the latest first."""
    window = [message for message in messages[:-1] if isinstance(message, HumanMessage) and not _is_turn(message)]
    return [str(message.text) for message in reversed(window)]


def tool_results(messages: Sequence[BaseMessage]) -> int:
    """How many tools have answered in this turn."""
    return sum(isinstance(message, ToolMessage) for message in messages)


def _ours(messages: Sequence[BaseMessage]) -> list[str]:
    return [
        str(message.text)
        for message in messages
        if isinstance(message, SystemMessage | ToolMessage) or _is_turn(message)
    ]


def _is_turn(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and message.name == "turn"
