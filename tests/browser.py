"""Where Chromium is, for tests that drive a page: `CHOWK_CHROMIUM`, then `chromium` on PATH.

    python -m tests.browser

installs Debian's where there is none and this is root; it never fails, the tests themselves do.
"""

import os
import shutil
import subprocess
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


def install() -> None:
    """Install Chromium from the distribution's packages where it is missing and that can be done."""
    can = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if chromium_path() is not None or os.environ.get("BROWSER") == "skip" or not can:
        return
    unattended = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "-y", "chromium"]):
        subprocess.run(command, check=False, env=unattended, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    install()
