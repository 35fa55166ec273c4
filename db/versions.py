"""The versions of the schemas that this code knows, and the SQL that leads a tenant from one to another.

Each kind of schema (`core`, `tenant`) has one line of versions, numbered in their order: `tenant_0002`. Alembic keeps
them. A file's name says when it may run: `pre_` before the new code is deployed, while the old code still works (it
adds), `post_` when no old code is left (it takes away). Within a release all `pre_` come before the first `post_`, so
what stands before the newest `pre_` belongs to releases that have been deployed.
A tenant's version is SQL alone, without reading what is there: it is written out once and run as it is for each tenant.
"""

from functools import cache
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from core.errors import Broken

Kind = Literal["core", "tenant"]
KINDS: tuple[Kind, ...] = ("core", "tenant")
MIGRATIONS = Path(__file__).parent / "migrations"

_written: dict[tuple[Path, str | None, str], str] = {}
#: Alembic's `op` and `context` are global: one thread at a time may have it write.
_writing = Lock()


def newest_versions() -> dict[Kind, str]:
    """The newest version of each kind of schema: what there is when every migration has run."""
    return {kind: _newest(MIGRATIONS / kind, prefix="") for kind in KINDS}


def needed_versions() -> dict[Kind, str]:
    """The version of each kind that this code cannot do without: its newest `pre_`."""
    return {kind: _newest(MIGRATIONS / kind, prefix="pre_") for kind in KINDS}


def number(version: str | None) -> int:
    """The place of a version in its line: 2 of `tenant_0002`, 0 where nothing has run yet."""
    if version is None:
        return 0
    digits = version.rpartition("_")[2]
    if not digits.isdecimal():
        raise Broken(f"{version!r} is not a version; one looks like tenant_0002")
    return int(digits)


def upgrade_sql(start: str | None, target: str) -> str:
    """The statements that lead a tenant's schema, which stands first in the search path, from `start` to `target`.

    `start` is None for an empty schema. Among them is the version's own record. Written once per process.

    Raises:
        Broken: this code does not know the version `start`.
    """
    folder = MIGRATIONS / "tenant"
    with _writing:
        key = (folder, start, target)
        if key not in _written:
            _written[key] = _write(folder, start, target)
        return _written[key]


def config_of(kind: Kind) -> Config:
    """Alembic's configuration for one kind of schema."""
    return _configured(Config(), MIGRATIONS / kind)


def _write(folder: Path, start: str | None, target: str) -> str:
    output = StringIO()
    try:
        command.upgrade(_configured(Config(output_buffer=output), folder), f"{start or 'base'}:{target}", sql=True)
    except CommandError as error:
        raise Broken(f"no way is known from version {start} to {target}: {error}") from error
    return output.getvalue()


def _configured(config: Config, folder: Path) -> Config:
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@cache
def _newest(folder: Path, *, prefix: str) -> str:
    for script in ScriptDirectory.from_config(_configured(Config(), folder)).walk_revisions():
        if Path(script.path).name.startswith(prefix):
            return script.revision
    raise Broken(f"there is no migration {prefix}… in {folder}")
