"""A bounded memory of answers that may be a little old: look-ups that every request repeats."""

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Expiring(Generic[Key, Value]):
    """Keeps up to `size_max` values, each for `ttl_s`; the oldest makes room for a new one."""

    __slots__ = ("_entries", "_size_max", "_ttl_s")

    def __init__(self, *, ttl_s: float, size_max: int) -> None:
        self._entries: dict[Key, tuple[float, Value]] = {}
        self._ttl_s = ttl_s
        self._size_max = size_max

    def get(self, key: Key) -> Value | None:
        """The value, or None where there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value."""
        self._entries.pop(key, None)
        while len(self._entries) >= self._size_max:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = (time.monotonic() + self._ttl_s, value)

    def forget(self, key: Key) -> None:
        """Drop a value; nothing happens where there is none."""
        self._entries.pop(key, None)
