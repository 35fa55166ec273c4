"""The job of `chowk dev` that stands between the database and the processes: migrations, then the demo's data.

    python -m sandbox.prepare --base-url http://127.0.0.1:8000

It reads the environment that the stack gives it and prints one line per step. What the seed says about the demo
(tenant, API key, accounts) is kept in `<home>/seed.json`, for `demo.json` and for the seed's next run on the same
database.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from core.errors import ChowkError, SettingInvalid
from core.settings import DatabaseSettings, StorageSettings, load
from sandbox.emulator.config import CONFIG_VARIABLE
from sandbox.json_file import read_json, write_json

SEED_FILE = "seed.json"


async def prepare(*, base_url: str, say: Callable[[str], None]) -> None:
    """Bring the database to this version and fill it with the demo; quick when both were done before.

    Raises:
        SettingInvalid: `CHOWK_ADMIN_DATABASE_URL` is not set, or the server is not fit for the product.
    """
    from db.migrate import migrate
    from sandbox.seed import seed_demo

    database = load(DatabaseSettings)
    if database.admin_url is None:
        raise SettingInvalid("CHOWK_ADMIN_DATABASE_URL is not set; migrations need an administrator")
    admin_url = database.admin_url.get_secret_value()
    say("migrating")
    await asyncio.to_thread(migrate, admin_url, app_password=_app_password(database.url.get_secret_value()))
    seed_file = load(StorageSettings).home / SEED_FILE
    database_identity = await _identity(admin_url)
    seeded = read_json(seed_file)
    facts = await seed_demo(
        admin_url=admin_url,
        base_url=base_url,
        emulator_config=Path(os.environ[CONFIG_VARIABLE]),
        remembered=seeded["facts"] if seeded.get("database") == database_identity else {},
        say=say,
    )
    write_json(seed_file, {"database": database_identity, "facts": facts})


def seeded_facts(home: Path) -> dict[str, Any]:  # Any: JSON of the demo seed, passed on as it is
    """What the seed said about the demo."""
    return read_json(home / SEED_FILE)["facts"]


async def _identity(admin_url: str) -> str:
    """Tells one database from another that takes its place, whose demo has other ids and keys."""
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        found = await connection.execute(
            "SELECT concat_ws('/', system_identifier, oid) FROM pg_control_system(), pg_database"
            " WHERE datname = current_database()"
        )
        row = await found.fetchone()
    return str(row[0]) if row else ""


def _app_password(app_url: str) -> str | None:
    """The password to give the product's login; None where the login is one that somebody else made."""
    parts = conninfo_to_dict(app_url)
    return str(parts["password"]) if parts.get("user") == "chowk_app" and "password" in parts else None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.prepare")
    parser.add_argument("--base-url", required=True)
    arguments = parser.parse_args()
    try:
        asyncio.run(prepare(base_url=arguments.base_url, say=_say))
    except ChowkError as error:
        _say(error.message)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
