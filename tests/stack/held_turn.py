"""A turn that stands in its model call, in a real worker process, until the test lets the model answer."""

import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil

from bench.held_model import MODEL, REPLY
from core.crypto import Sealer
from db.pools import Database
from tests.builders import Organisation, a_body, a_change, a_number, a_text, rows, store
from tests.eventually import eventually
from tests.outbox.provider_server import Received
from tests.worker.a_worker import Worker

#: How long an answer is kept back at most.
PATIENCE_S = 60.0

STEPS = "SELECT node, attempt FROM core.run_steps WHERE namespace = '' ORDER BY position"
RUN = """
SELECT id, state, outcome, attempts, worker, coalesce(lease_until > clock_timestamp(), false) AS leased FROM core.runs
"""


@dataclass
class SlowModel:
    """In Gemini's wire format. Calls about `sender` are answered only while it may; all others at once."""

    url: str = ""
    sender: str = field(default_factory=a_number)
    may_answer: threading.Event = field(default_factory=threading.Event)
    #: The ports of those who called about `sender`.
    callers: list[int] = field(default_factory=list[int])

    def settings(self) -> dict[str, str]:
        """By which a worker asks this model."""
        return {"CHOWK_MODEL": MODEL, "GOOGLE_API_KEY": "test", "GOOGLE_GEMINI_BASE_URL": self.url}

    async def is_called(self, *, times: int = 1) -> None:
        async def it_is() -> bool:
            return len(self.callers) >= times

        await eventually(it_is)


@contextmanager
def a_slow_model() -> Generator[SlowModel]:
    """Takes every message for a courtesy, which is one call."""
    model = SlowModel()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            if model.sender in body:
                model.callers.append(self.client_address[1])
                model.may_answer.wait(PATIENCE_S)
            answer = json.dumps(REPLY).encode()
            with suppress(ConnectionError):  # the caller is dead
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    model.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True)
class HeldTurn:
    """One person, who thanks an organisation, and the turn that answers them."""

    database: Database
    organisation: Organisation
    model: SlowModel
    provider: Received

    async def begin(self, sealer: Sealer) -> None:
        """The person writes; returns once the model is asked what to make of it."""
        message = a_text(f"Thanks! {self.model.sender}", sender=self.model.sender)
        body = a_body([a_change(self.organisation.phone_number_id, messages=[message])])
        await store(self.database, sealer, self.organisation.account_id, body)
        await self.model.is_called()

    def caller(self, workers: Sequence[Worker]) -> Worker:
        """The worker that asked first."""
        return next(
            worker
            for worker in workers
            for child in worker.children()
            if any(one.laddr.port == self.model.callers[0] for one in psutil.Process(child).net_connections("tcp"))
        )

    async def run(self) -> dict[str, Any]:
        """The run, of which there is one."""
        (row,) = await rows(self.database, self.organisation.tenant_id, RUN)
        return row

    async def steps(self) -> list[tuple[str, int]]:
        """Its steps on record, each with the attempt that took it."""
        taken = await rows(self.database, self.organisation.tenant_id, STEPS)
        return [(row["node"], row["attempt"]) for row in taken]

    async def ends(self) -> None:
        """Return once the turn is over and its reply has left."""

        async def it_has() -> bool:
            return (await self.run())["state"] == "succeeded" and bool(self.replies())

        await eventually(it_has)

    def replies(self) -> list[str]:
        """What the provider was given for the person."""
        return [body["text"]["body"] for body in self.provider.bodies if body.get("to") == self.model.sender]
