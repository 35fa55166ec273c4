"""Lanes: what a worker process takes on. Each is also the name of the queue that its doorbell rings in."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from core.errors import SettingInvalid

#: `interactive`: a person waits. `background`: nobody does.
LANES: Final = ("interactive", "background")

#: The stage that a ring wakes. What it finds wakes the stages after it.
STAGE_OF_RING: Final = MappingProxyType({"interactive": "split", "background": "jobs"})


def known_lanes(names: Sequence[str]) -> tuple[str, ...]:
    """These lanes, each once.

    Raises:
        SettingInvalid: none is named, or one that there is not.
    """
    lanes = tuple(dict.fromkeys(names))
    unknown = [name for name in lanes if name not in LANES]
    if unknown or not lanes:
        named = ", ".join(unknown) or "none"
        raise SettingInvalid(f"--lanes names {named}; a worker takes one or more of {', '.join(LANES)}")
    return lanes
