"""A load client of raw sockets: keep-alive connections that each send a signed webhook once the last is answered.

Runs as a process of its own (`python -m bench.load_client`), so that its work is not counted as the server's, and
prints one JSON object: answers by status, seconds, and the latencies.
"""

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import cast

import uvloop
from typing_extensions import override

#: As Meta sends it: `developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples`.
BODY = (
    '{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":'
    '"whatsapp","metadata":{"display_phone_number":"911140000100","phone_number_id":"106540352242922"},"contacts":'
    '[{"profile":{"name":"Sheena Nelson"},"wa_id":"919876543210"}],"messages":[{"from":"919876543210","id":'
    '"wamid.HBgMOTE5ODc2NTQzMjEwFQIAEhg%s","timestamp":"1790000000","text":{"body":'
    '"Namaste, can I get a tax receipt for my donation of Rs 2500?"},"type":"text"}]},"field":"messages"}]}]}'
)
HEAD = (
    b"POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"
    b"Accept-Encoding: deflate, gzip\r\nContent-Type: application/json\r\n"
    b"X-Hub-Signature-256: sha256=%s\r\nContent-Length: %d\r\n\r\n"
)
#: Signed beforehand, so that signing does not take the processor from the server while it is measured.
REQUESTS_AHEAD = 4_000


class Connection(asyncio.Protocol):
    """One keep-alive connection: the next request leaves when the last is answered."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._sent_at = 0.0
        self._received = b""
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's and another base.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self._received = b""
        self._load.answered(int(head[9:12]), time.perf_counter() - self._sent_at)
        if self._load.over():
            self._close()
        else:
            self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._load.closed()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._load.next_request()
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def _close(self) -> None:
        assert self._transport is not None
        self._transport.close()


class Load:
    """The requests still to send, and what was answered."""

    def __init__(self, requests: Iterator[bytes], *, connections: int, seconds: float) -> None:
        self._requests = requests
        self._open = connections
        self._ends_at = time.perf_counter() + seconds
        self.began_at = time.perf_counter()
        self.ended_at = self.began_at
        self.statuses: Counter[int] = Counter()
        self.latencies_s: list[float] = []
        self.done = asyncio.Event()

    def next_request(self) -> bytes:
        """The next one to send."""
        return next(self._requests)

    def over(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() >= self._ends_at

    def answered(self, status: int, latency_s: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.latencies_s.append(latency_s)
        self.ended_at = time.perf_counter()

    def closed(self) -> None:
        """Count one connection that is closed."""
        self._open -= 1
        if self._open == 0:
            self.done.set()


def signed_requests(*, path: str, host: str, secret: bytes, mark: str) -> Iterator[bytes]:
    """Requests with ids that are unique to `mark`, for ever; the first are made before the first is asked for."""

    def request(number: int) -> bytes:
        body = (BODY % f"{mark}{number:010d}").encode()
        signature = hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
        return HEAD % (path.encode(), host.encode(), signature, len(body)) + body

    ahead = [request(number) for number in range(REQUESTS_AHEAD)]
    return itertools.chain(ahead, (request(number) for number in itertools.count(REQUESTS_AHEAD)))


async def drive(requests: Iterator[bytes], *, port: int, connections: int, seconds: float) -> Load:
    """Send until the time is over and every connection has its last answer."""
    loop = asyncio.get_running_loop()
    load = Load(requests, connections=connections, seconds=seconds)
    await asyncio.gather(
        *(loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for _ in range(connections))
    )
    await load.done.wait()
    return load


def report(load: Load) -> dict[str, object]:
    """What is printed."""
    ordered = sorted(load.latencies_s)
    seconds = load.ended_at - load.began_at
    return {
        "answers": len(ordered),
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "seconds": seconds,
        "latencies_ms": [round(latency * 1000, 3) for latency in ordered],
    }


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line[:15].lower() == b"content-length:":
            return int(line[15:])
    return 0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.load_client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--mark", required=True, help="makes the ids of this load unlike any other's")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    requests = signed_requests(path=asked.path, host="127.0.0.1", secret=asked.secret.encode(), mark=asked.mark)
    load = uvloop.run(drive(requests, port=asked.port, connections=asked.connections, seconds=asked.seconds))
    print(json.dumps(report(load)))


if __name__ == "__main__":
    main()
