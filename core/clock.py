"""Time as an argument: whatever compares times takes a `Clock`, so that a test can hold it still.

Leases and due times are decided by the database's clock, not by this one.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

#: Gives the present moment, aware, in UTC.
Clock: TypeAlias = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def from_unix_s(seconds: float) -> datetime:
    """The moment that is `seconds` after the Unix epoch, aware, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
