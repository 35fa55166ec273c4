"""The release after this one, as far as its migrations go: the versions there are, and tenant versions of one's own.

python -m bench.next_release FOLDER migrate --json

runs the `chowk` command as that release would; the folder is one that `write_release` has filled.
"""

import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from db import versions

VERSION = '''"""A version of the next release."""

from alembic import op

revision = "tenant_{number:04}"
down_revision = "tenant_{before:04}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute({sql!r})
'''


def write_release(folder: Path, tenant_versions: Sequence[tuple[Literal["pre", "post"], str]]) -> str:
    """Fill a folder with this code's migrations and one more of tenants for each SQL; gives the newest version."""
    shutil.copytree(versions.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    newest = versions.number(versions.newest_versions()["tenant"])
    for number, (stage, sql) in enumerate(tenant_versions, newest + 1):
        path = folder / "tenant" / "versions" / f"{stage}_{number:04}_next.py"
        path.write_text(VERSION.format(number=number, before=number - 1, sql=sql), encoding="utf-8")
    return f"tenant_{newest + len(tenant_versions):04}"


def main() -> None:
    """The command line."""
    _, folder, *arguments = sys.argv
    versions.MIGRATIONS = Path(folder)  # pyright: ignore[reportConstantRedefinition]  # as if released
    sys.argv = ["chowk", *arguments]
    runpy.run_module("cli.main", run_name="__main__")


if __name__ == "__main__":
    main()
