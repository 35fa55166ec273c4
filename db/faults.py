"""Named points at which a test may kill the process, so that every gap between two commits can be hit.

`CHOWK_FAULT=explode.before_commit` ends the process there, as `kill -9` would; `CHOWK_FAULT=name:3` at the third pass.
Without the variable a point costs one comparison.
"""

import os
import signal

_armed = ""
_passes_left = 0


def fault(point: str) -> None:
    """End this process with SIGKILL if this point is the armed one and this is the armed pass."""
    global _passes_left  # noqa: PLW0603  # one process, one armed point
    if point != _armed:
        return
    _passes_left -= 1
    if _passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def arm(order: str) -> None:
    """Choose the point, and after a colon the pass, at which this process ends. An empty order chooses none."""
    global _armed, _passes_left  # noqa: PLW0603  # as above
    _armed, _, passes = order.partition(":")
    _passes_left = int(passes or "1")


arm(os.environ.get("CHOWK_FAULT", ""))
