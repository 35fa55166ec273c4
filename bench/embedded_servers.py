"""An embedded PostgreSQL and Redis for one measurement: started, migrated, and gone afterwards."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from db.migrate import migrate

REPOSITORY = Path(__file__).parent.parent
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are. `runner` is the process that all of theirs are below."""

    admin_url: str
    app_url: str
    redis_url: str
    runner: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        """What a process of the product must be told to use them; the secret key is made up."""
        return {
            "DATABASE_URL": self.app_url,
            "CHOWK_ADMIN_DATABASE_URL": self.admin_url,
            "REDIS_URL": self.redis_url,
            "CHOWK_SECRET_KEY": base64.b64encode(b"b" * 32).decode(),
        }


@contextmanager
def embedded_servers() -> Generator[Servers, None, None]:
    """Start both, fsync on, and migrate; stop them at the end.

    Raises:
        RuntimeError: they did not start.
    """
    home = Path(tempfile.mkdtemp(prefix="chowk-bench-"))
    home.chmod(0o711)  # where this runs as root the database does not, and must pass through
    runner = subprocess.Popen(
        [sys.executable, "-m", "sandbox.embedded", "--home", str(home)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert runner.stdin is not None
    assert runner.stdout is not None
    try:
        line = runner.stdout.readline()
        if not line:
            raise RuntimeError("the embedded servers did not start")
        servers = Servers(runner=runner, **json.loads(line))
        migrate(servers.admin_url, app_password=urlsplit(servers.app_url).password)
        before = dict(os.environ)
        os.environ.update(servers.environment())
        try:
            yield servers
        finally:
            os.environ.clear()
            os.environ.update(before)
    finally:
        runner.stdin.close()
        runner.wait(STOP_S)
        runner.stdout.close()
        shutil.rmtree(home, ignore_errors=True)
