"""Where Chromium is, for tests that drive a page: `CHOWK_CHROMIUM`, then `chromium` on PATH."""

import os
import shutil
from pathlib import Path

import pytest

NOT_RUN = (
    "BROWSER TESTS NOT RUN: no Chromium; set CHOWK_CHROMIUM or install it (apt-get install chromium), or BROWSER=skip"
)
LAUNCH_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser")


def chromium_path() -> str | None:
    """The executable; None where there is none."""
    named = os.environ.get("CHOWK_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


def required_chromium() -> str:
    """The executable. Without one the test fails, unless `BROWSER=skip` says that this is meant."""
    if os.environ.get("BROWSER") == "skip":
        print(NOT_RUN)  # noqa: T201 - a run without browser tests says so
        pytest.skip(NOT_RUN)
    path = chromium_path()
    if path is None:
        pytest.fail(NOT_RUN, pytrace=False)
    return path
