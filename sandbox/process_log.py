"""The log file of one supervised process.

The process writes to the file itself, so it neither blocks nor dies when the supervisor does. The supervisor reads:
the last lines when a start fails, new lines when it shows them on the console; and it keeps the file small.
"""

import os
import shutil
from pathlib import Path
from typing import IO

LOG_BYTES_MAX = 16 * 1024 * 1024
LAST_LINES = 20
LAST_BYTES_MAX = 16 * 1024
FOLLOW_BYTES_MAX = 256 * 1024


class ProcessLog:
    """One file, kept under `LOG_BYTES_MAX`, with one older file `<name>.1` beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = self._size()
        self._shown = self._start

    def open(self) -> IO[bytes]:
        """For a process to write to; appends, so that several starts follow each other."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._start = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "ab", buffering=0)

    def last_lines(self) -> list[str]:
        """The last lines that the latest start wrote."""
        size = self._size()
        content = self._read(max(self._start, size - LAST_BYTES_MAX), size)
        return content.decode(errors="replace").splitlines()[-LAST_LINES:]

    def new_lines(self) -> list[str]:
        """Lines written since the last call; at most `FOLLOW_BYTES_MAX` at a time."""
        size = self._size()
        if size < self._shown:
            self._shown = 0
        content = self._read(self._shown, min(size, self._shown + FOLLOW_BYTES_MAX))
        if len(content) < FOLLOW_BYTES_MAX:
            content = content[: content.rfind(b"\n") + 1]  # the rest of the last line is still to come
        self._shown += len(content)
        return content.decode(errors="replace").splitlines()

    def trim(self) -> None:
        """Move the content aside once it is over the limit; the writer goes on at the start of the file."""
        if self._size() <= LOG_BYTES_MAX:
            return
        shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
        os.truncate(self.path, 0)
        self._start = 0

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _read(self, start: int, end: int) -> bytes:
        if end <= start:
            return b""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)
