"""A provider that really listens: for senders in other processes."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: How long an answer is kept back at most.
PATIENCE_S = 60.0


@dataclass
class Received:
    """Where it listens and what came. It answers only while it may."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    #: Acts by their idempotency key: the same key again is the same act.
    acts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def a_provider() -> Generator[Received]:
    """Takes every message and gives it the id `wamid.<n>`."""
    received = Received()
    received.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/act":
                self._answer(received.acts.setdefault(self.headers["idempotency-key"], body))
                return
            received.bodies.append(body)
            received.may_answer.wait(PATIENCE_S)
            self._answer({"messaging_product": "whatsapp", "messages": [{"id": f"wamid.{len(received.bodies)}"}]})

        def do_GET(self) -> None:
            """What came so far, oldest first."""
            self._answer(received.bodies)

        def _answer(self, answer: Any) -> None:
            payload = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
