"""What a bench runs on: embedded servers, a migrated database with one account, and API servers, each a process."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import KEY_BYTES, Sealer
from core.ids import AccountId
from db.migrate import migrate
from db.provision import create_tenant
from sandbox.ports import free_port

SIGNING_SECRET = "a secret of the bench"  # noqa: S105
PEER_SECRET = "BENCH_PEER_SECRET"  # noqa: S105  # the variable's name
PEER_QUEUE = "bench-peer"
START_S = 90.0
STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """The servers that a bench stands on."""

    admin_url: str
    redis_url: str
    account_id: AccountId
    #: Of the processes that a bench starts: URLs, keys, folders.
    environment: Mapping[str, str]
    #: The process below which Postgres and Redis run.
    embedded_pid: int


@dataclass(frozen=True, slots=True)
class ApiServer:
    """One API server."""

    port: int
    pid: int


@contextmanager
def bench_scene() -> Generator[Scene, None, None]:
    """Start everything durable, as production has it; nothing is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="chowk-bench-") as folder, ExitStack() as stack:
        home = Path(folder)
        home.chmod(0o711)  # the embedded servers run as an ordinary user and must be able to pass through
        urls, pid = stack.enter_context(_embedded(home / "servers"))
        key = os.urandom(KEY_BYTES)
        environment = os.environ | {
            "DATABASE_URL": urls["app_url"],
            "CHOWK_ADMIN_DATABASE_URL": urls["admin_url"],
            "REDIS_URL": urls["redis_url"],
            "CHOWK_SECRET_KEY": base64.b64encode(key).decode(),
            "CHOWK_HOME": str(home / "api"),
            "CHOWK_LOG_LEVEL": "warning",
            PEER_SECRET: SIGNING_SECRET,
        }
        account_id = _account(urls, Sealer(key))
        yield Scene(urls["admin_url"], urls["redis_url"], account_id, environment, pid)


@contextmanager
def api_server(scene: Scene, factory: str, *, workers: int, ready_path: str) -> Generator[ApiServer, None, None]:
    """Serve one application as `chowk api` would."""
    port = free_port(None)
    script = (
        f"from api.server import serve; serve(host='127.0.0.1', port={port}, workers={workers}, factory={factory!r})"
    )
    with _process([sys.executable, "-c", script], scene.environment) as process:
        _until_answering(process, f"http://127.0.0.1:{port}{ready_path}")
        yield ApiServer(port, process.pid)


@contextmanager
def _embedded(home: Path) -> Generator[tuple[dict[str, str], int], None, None]:
    home.mkdir()
    command = [sys.executable, "-m", "sandbox.embedded", "--home", str(home)]
    with _process(command, os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the embedded servers did not start; see what they wrote above"
        yield json.loads(line), process.pid


@contextmanager
def _process(
    command: list[str], environment: Mapping[str, str], *, stdin: int | None = None, stdout: int | None = None
) -> Generator[subprocess.Popen[bytes], None, None]:
    process = subprocess.Popen(command, env=dict(environment), stdin=stdin, stdout=stdout, start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def _account(urls: Mapping[str, str], sealer: Sealer) -> AccountId:
    password = urlsplit(urls["app_url"]).password
    migrate(urls["admin_url"], app_password=None if password is None else unquote(password))
    tenant_id = create_tenant(urls["admin_url"], slug="bench", name="An organisation")
    return add_account(
        urls["admin_url"], sealer, tenant_id=tenant_id, channel="whatsapp", external_id="106540352242922",
        name="WhatsApp", secrets=Secrets((SIGNING_SECRET.encode(),)),
    )  # fmt: skip


def _until_answering(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server of {url} ended with {process.returncode}"
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{url} did not answer within {START_S} s")
