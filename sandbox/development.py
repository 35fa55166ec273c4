"""The settings with which a command reaches the stack that `chowk dev` runs: read from its home, never made."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from sandbox.json_file import read_json
from sandbox.postgres import ADMIN

DEMO_FILE = "demo.json"
SECRETS_FILE = "secrets.json"


def development_environment(home: Path) -> Mapping[str, str]:
    """The variables of the stack on this home; none where there is no stack, or it was not started yet.

    The administrator's URL is there only where the home has its own database.
    """
    demo, secrets = home / DEMO_FILE, home / SECRETS_FILE
    if not (demo.is_file() and secrets.is_file()):
        return {}
    facts, known = read_json(demo), read_json(secrets)
    found = {"CHOWK_HOME": str(home), "DATABASE_URL": facts["database_url"], "REDIS_URL": facts["redis_url"]}
    if "secret_key" in known:
        found["CHOWK_SECRET_KEY"] = known["secret_key"]
    if password := known.get("postgres_admin_password"):
        url = urlsplit(facts["database_url"])
        login = f"{ADMIN}:{quote(password)}@{url.hostname}:{url.port}"
        found["CHOWK_ADMIN_DATABASE_URL"] = url._replace(netloc=login).geturl()
    return found
