"""Where a turn goes next: pure functions of the state."""

from typing import Literal

from graphs.state import ConversationState


def after_triage(state: ConversationState) -> Literal["reply", "guard"]:
    """To the reply agent when something is asked; everything else is settled by code."""
    route = state["route"]
    return "reply" if route is not None and route["route"] == "reply" else "guard"
