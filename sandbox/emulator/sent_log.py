"""Every message that was accepted, with its time on two clocks: what tests and benchmarks read."""

import time
from collections import deque
from dataclasses import asdict, dataclass

from core.clock import utc_now
from sandbox.emulator.validation import Outbound

SENT_KEPT_MAX = 20_000


@dataclass(slots=True)
class SentMessage:
    """One accepted message. `accepted_monotonic_ns` compares with other processes of this machine (CLOCK_MONOTONIC)."""

    number: int
    id: str
    phone_number_id: str
    business: str
    customer: str
    to: str
    kind: str
    text: str | None
    correlation: str | None
    reply_to: str | None
    accepted_at: str
    accepted_monotonic_ns: int
    #: False where the caller was not told that it was accepted.
    answered: bool
    body: dict[str, object]


class SentLog:
    """The last accepted messages, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[SentMessage] = deque(maxlen=SENT_KEPT_MAX)
        self._number = 0

    @property
    def total(self) -> int:
        """How many were accepted since the start or the last `clear`."""
        return self._number

    def add(
        self,
        *,
        wamid: str,
        phone_number_id: str,
        business: str,
        customer: str,
        outbound: Outbound,
        body: dict[str, object],
    ) -> SentMessage:
        """Record one message at this moment."""
        self._number += 1
        sent = SentMessage(
            number=self._number,
            id=wamid,
            phone_number_id=phone_number_id,
            business=business,
            customer=customer,
            to=outbound.recipient.given,
            kind=outbound.kind,
            text=outbound.content.text,
            correlation=outbound.correlation,
            reply_to=outbound.reply_to,
            accepted_at=utc_now().isoformat(),
            accepted_monotonic_ns=time.monotonic_ns(),
            answered=True,
            body=body,
        )
        self._kept.append(sent)
        return sent

    def listed(
        self, *, after: int, limit: int, customer: str | None, phone_number_id: str | None, correlation: str | None
    ) -> list[dict[str, object]]:
        """The messages with a number above `after` that match, oldest first."""
        wanted = {"customer": customer, "phone_number_id": phone_number_id, "correlation": correlation}
        asked = [(name, value) for name, value in wanted.items() if value is not None]
        matching = (
            sent
            for sent in self._kept
            if sent.number > after and all(getattr(sent, name) == value for name, value in asked)
        )
        return [asdict(sent) for sent, _ in zip(matching, range(limit), strict=False)]

    def clear(self) -> None:
        """Forget all of them and count from 1 again."""
        self._kept.clear()
        self._number = 0
