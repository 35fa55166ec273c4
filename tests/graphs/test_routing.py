from typing import Any

import pytest

from graphs.routing import after_triage


@pytest.mark.parametrize(
    ("route", "goes_to"),
    [
        ({"route": "reply", "reason": "question", "language": "en"}, "reply"),
        ({"route": "greet", "reason": "greeting", "language": "en"}, "guard"),
        ({"route": "hand_off", "reason": "safety", "language": "en"}, "guard"),
        ({"route": "silent", "reason": "acknowledgement", "language": "en"}, "guard"),
        (None, "guard"),
    ],
)
def test_only_what_asks_goes_to_the_reply_agent(route: Any, goes_to: str) -> None:
    state: Any = {"route": route}
    assert after_triage(state) == goes_to
