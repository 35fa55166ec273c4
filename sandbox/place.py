"""Where embedded servers may live, and as whom.

PostgreSQL refuses to run as root. When the supervisor is root, servers run under an account that every Linux has
(`postgres`, else `nobody`): no account is made, because initdb wants one that the system knows by name. That account
must be able to reach its data and the programs. Two places are often closed to it: a home and a virtualenv below
`/root`, which is mode 700. Nobody's folders are opened up for it; instead

* data whose home is closed lives in `/var/tmp/chowk-<hash of the home's path>`, a folder of mode 711 that root owns;
* programs in a closed virtualenv are copied beside the data (25 MB, once per version).
"""

import hashlib
import os
import pwd
import stat
from pathlib import Path

from core.errors import SettingInvalid
from sandbox.home import HOME_MODE, Home
from sandbox.process import OrdinaryUser

ACCOUNTS = ("postgres", "nobody")
OPEN_PLACE = Path("/var/tmp")  # noqa: S108 survives a reboot, and the folder in it is checked before it is used


def server_user() -> OrdinaryUser | None:
    """The account for embedded servers; None where this process is no root and servers simply run as it is.

    Raises:
        SettingInvalid: this is root and the system has none of the accounts.
    """
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid != 0:
            return OrdinaryUser(name=name, uid=account.pw_uid, gid=account.pw_gid)
    raise SettingInvalid(
        f"PostgreSQL does not run as root, and none of the accounts {', '.join(ACCOUNTS)} exists;"
        " run this as an ordinary user, or set DATABASE_URL"
    )


def owner_of(path: Path) -> OrdinaryUser:
    """Whose the folder is: data that was once made under an account stays with it."""
    found = path.stat()
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        name = str(found.st_uid)
    return OrdinaryUser(name=name, uid=found.st_uid, gid=found.st_gid)


def is_open(path: Path) -> bool:
    """Whether an account without any rights of its own can pass through every folder down to this one."""
    return all(stat.S_ISDIR(mode) and mode & stat.S_IXOTH for mode in (p.stat().st_mode for p in (path, *path.parents)))


def data_place(home: Home, user: OrdinaryUser | None) -> Path:
    """The folder in which a server's own folder is made: the home, or the place that stands in for a closed one.

    Raises:
        SettingInvalid: somebody else made that place first.
    """
    if user is None or is_open(home.path):
        return home.path
    place = stand_in(home)
    place.mkdir(mode=HOME_MODE, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingInvalid(f"{place} is not a folder that only root can write; remove it, or choose another --home")
    place.chmod(HOME_MODE)
    return place


def stand_in(home: Home) -> Path:
    """The place for data whose home the server's account cannot enter."""
    return OPEN_PLACE / f"chowk-{hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]}"
