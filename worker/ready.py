"""The file by which a process without a port says that it does its work."""

import os
from pathlib import Path

#: Names the file. It is made once the process works, and touched about once a second as long as it does.
READY_FILE = "CHOWK_READY_FILE"


def touch_ready_file() -> None:
    """Say that this process works now; nothing happens where nobody asked for it."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
