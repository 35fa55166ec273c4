"""The home of an embedded stack: one folder that holds all its data, so that a second start goes on where it was.

* `home.json`: ports, so that they stay the same
* `secrets.json`: passwords and keys, readable by the owner alone
* `seed.json`: what the demo's seed said about itself
* `demo.json`: how to reach what runs, see `sandbox.demo_file`
* `postgres/`: the database
* `blobs/`: large bodies and media
* `logs/`: one file per process
* `run/`: what runs now; means nothing after a stop
"""

import base64
import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingInvalid
from core.settings import SECRET_KEY_BYTES
from sandbox.json_file import read_json, write_json
from sandbox.ports import free_port

#: What --fresh deletes. A folder with such names but without `home.json` is somebody else's and is refused.
OWN_NAMES = (
    "demo.json",
    "seed.json",
    "postgres",
    "postgres-install",
    "redis-server",
    "blobs",
    "pycache",
    "logs",
    "run",
    "secrets.json",
    "home.json",
)

LOCK = "lock"

#: Servers under an ordinary user must be able to pass through the home, but not to list it.
HOME_MODE = 0o711
PRIVATE_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Home:
    """The folder, absolute and with symlinks resolved."""

    path: Path

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Files about what runs now."""
        return self.path / "run"

    @property
    def state(self) -> Path:
        """Ports and places."""
        return self.path / "home.json"


def open_home(path: Path) -> Home:
    """Make the folder and its parts if they are missing.

    Raises:
        SettingInvalid: the folder cannot be made or written, or it is there and is no home of ours.
    """
    home = Home(path.resolve())
    try:
        if not home.path.exists():
            home.path.mkdir(parents=True)
            home.path.chmod(HOME_MODE)
        if not home.state.exists():
            _refuse_strange_folder(home)
            write_json(home.state, {})
        for folder in (home.logs, home.run):
            folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    except OSError as error:
        raise SettingInvalid(f"the home {home.path} cannot be written ({error}); choose another with --home") from error
    return home


def _refuse_strange_folder(home: Home) -> None:
    present = [name for name in OWN_NAMES if (home.path / name).exists()]
    if present:
        raise SettingInvalid(
            f"{home.path} holds {', '.join(present)} but no home.json, so it is no home that Chowk made;"
            " choose another with --home"
        )


@contextmanager
def locked(home: Home) -> Generator[None]:
    """Hold the home for this process alone; the kernel lets go of it when the process ends in whatever way.

    Raises:
        SettingInvalid: another process holds it, or it belongs to another user.
    """
    try:
        file = (home.run / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        raise SettingInvalid(
            f"{home.run} cannot be written ({error.strerror}); start as the user that made it"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SettingInvalid(
                f"process {file.read().strip() or '?'} already runs on the home {home.path};"
                " stop it, or choose another home with --home"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def clear_home(home: Home) -> None:
    """Delete everything of ours in the home but the lock that this process holds; it is an empty home then."""
    for name in OWN_NAMES:
        path = home.path / name
        if path == home.run:
            for entry in path.iterdir():
                _delete(entry, but=LOCK)
        else:
            _delete(path, but=home.state.name)
    write_json(home.state, {})
    home.logs.mkdir(mode=PRIVATE_MODE)


def port_for(home: Home, name: str) -> int:
    """The port of an embedded server: the one it had before if that is free, else a new one, remembered."""
    state = read_json(home.state)
    ports: dict[str, int] = state.get("ports", {})
    port = free_port(ports.get(name), taken=frozenset(ports.values()))
    if ports.get(name) != port:
        write_json(home.state, {**state, "ports": {**ports, name: port}})
    return port


def secret_for(home: Home, name: str) -> str:
    """A password, made at random the first time. Letters and digits only, so that it can stand in a URL."""
    return _remembered_secret(home, name, secrets.token_hex(24))


def secret_key_for(home: Home) -> str:
    """The value of `CHOWK_SECRET_KEY`, made at random the first time."""
    return _remembered_secret(home, "secret_key", base64.b64encode(secrets.token_bytes(SECRET_KEY_BYTES)).decode())


def _remembered_secret(home: Home, name: str, new: str) -> str:
    path = home.path / "secrets.json"
    remembered = read_json(path)
    if name not in remembered:
        remembered[name] = new
        write_json(path, remembered)
    return str(remembered[name])


def _delete(path: Path, *, but: str) -> None:
    if path.name == but:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
