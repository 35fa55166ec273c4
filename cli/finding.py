"""What a check of `chowk doctor` gives."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do; empty where there is nothing to do."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""
