"""What a bench runs on: embedded servers, a migrated database with one account, and API servers, each a process."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from bench.embedded_servers import embedded_servers
from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from core.ids import AccountId
from core.settings import SecretSettings, load
from db.provision import create_tenant
from sandbox.ports import free_port

SIGNING_SECRET = "a secret of the bench"  # noqa: S105  # signs nothing outside a bench
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
    with tempfile.TemporaryDirectory(prefix="chowk-bench-") as home, embedded_servers() as servers:
        environment = os.environ | {"CHOWK_HOME": home, "CHOWK_LOG_LEVEL": "warning", PEER_SECRET: SIGNING_SECRET}
        account_id = _account(servers.admin_url, Sealer(load(SecretSettings).key()))
        yield Scene(servers.admin_url, servers.redis_url, account_id, environment, servers.runner.pid)


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
def _process(command: list[str], environment: Mapping[str, str]) -> Generator[subprocess.Popen[bytes], None, None]:
    process = subprocess.Popen(command, env=dict(environment), start_new_session=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def _account(admin_url: str, sealer: Sealer) -> AccountId:
    tenant_id = create_tenant(admin_url, slug="bench", name="An organisation")
    return add_account(
        admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id="106540352242922",
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
