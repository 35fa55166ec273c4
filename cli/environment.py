"""What commands take from the environment."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.crypto import Sealer
from core.errors import NotFound, SettingInvalid
from core.ids import TenantId
from core.settings import DatabaseSettings, SecretSettings, load

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from db.pools import Database

CONNECT_TIMEOUT_S = 5
#: Where `chowk dev` keeps its data unless it is told otherwise.
HOME = ".chowk"


def use_development_stack() -> None:
    """Without DATABASE_URL, speak to the stack that `chowk dev` runs here, where it runs one; and say so."""
    if "DATABASE_URL" in os.environ:
        return
    from sandbox.development import development_environment

    home = Path(os.environ.get("CHOWK_HOME") or HOME)
    found = development_environment(home)
    if found:
        os.environ.update({name: value for name, value in found.items() if name not in os.environ})
        sys.stderr.write(f"chowk: DATABASE_URL is not set; this speaks to the development stack of {home}\n")


def admin_url() -> str:
    """The administrator's database URL, with which migrating and provisioning are done.

    Raises:
        SettingInvalid: it is not set.
    """
    use_development_stack()
    url = load(DatabaseSettings).admin_url
    if url is None:
        raise SettingInvalid(
            "CHOWK_ADMIN_DATABASE_URL is not set; this command needs a database role that may create roles and schemas,"
            " for example postgresql://postgres:…@127.0.0.1:5432/chowk"
        )
    return url.get_secret_value()


def sealer() -> Sealer:
    """The sealer of CHOWK_SECRET_KEY."""
    use_development_stack()
    return Sealer(load(SecretSettings).key())


def tenant_of(slug: str) -> TenantId:
    """The tenant with this slug.

    Raises:
        NotFound: there is none.
    """
    from db.provision import tenant_by_slug

    tenant_id = tenant_by_slug(admin_url(), slug)
    if tenant_id is None:
        raise NotFound(f"there is no tenant {slug!r}; see `chowk tenant list`")
    return tenant_id


@asynccontextmanager
async def connected() -> "AsyncGenerator[Database, None]":
    """The database of DATABASE_URL, for one command. A server that does not answer is an error at once."""
    from psycopg import AsyncConnection

    from db.pools import open_database

    use_development_stack()
    settings = load(DatabaseSettings)
    # The pool would try again and again; a person at a terminal would rather know.
    await (await AsyncConnection.connect(settings.url.get_secret_value(), connect_timeout=CONNECT_TIMEOUT_S)).close()
    database = await open_database(settings, application="cli")
    try:
        yield database
    finally:
        await database.close()
