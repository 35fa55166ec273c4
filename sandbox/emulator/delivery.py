"""Posting webhooks: signed, one after the other per customer at first, again and again while the answer is not 200.

Meta promises no order and gives up after 7 days; here a webhook that failed does not hold up the next one, and the
number of attempts ends it. Nothing survives the process.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

import httpx

from core.clock import utc_now
from core.errors import NotFound, Overloaded
from core.http import provider_client
from core.log import logger
from sandbox.emulator.config import Business, DeliveryPlan
from sandbox.emulator.envelopes import Json, body_bytes, envelope, signature

DELIVERIES_KEPT_MAX = 10_000
ANSWERS_KEPT_MAX = 20
HTTP_OK = 200

log = logger(__name__)

DeliveryState: TypeAlias = Literal["pending", "delivered", "given_up"]


@dataclass(slots=True, eq=False)
class Delivery:
    """One webhook on its way. `answers` holds the HTTP statuses of its attempts, or the name of what went wrong."""

    number: int
    business: Business
    customer_id: str
    label: str
    body: bytes
    made_at: datetime
    on_attempt: Callable[["Delivery"], None] | None = None
    state: DeliveryState = "pending"
    attempts: int = 0
    answers: deque[int | str] = field(default_factory=lambda: deque(maxlen=ANSWERS_KEPT_MAX))
    settled_at: datetime | None = None

    def as_json(self, *, with_body: bool) -> dict[str, object]:
        """For GET /sandbox/deliveries."""
        listed: dict[str, object] = {
            "number": self.number,
            "phone_number_id": self.business.phone_number_id,
            "customer": self.customer_id,
            "label": self.label,
            "state": self.state,
            "attempts": self.attempts,
            "answers": list(self.answers),
            "made_at": self.made_at.isoformat(),
            "settled_at": self.settled_at.isoformat() if self.settled_at else None,
        }
        return {**listed, "body": self.body.decode("ascii")} if with_body else listed


class WebhookPost:
    """Everything that is on its way, and the last that arrived. `start` it before the first webhook, `stop` it once."""

    def __init__(self, plan: DeliveryPlan) -> None:
        self._plan = plan
        self._lanes: list[asyncio.Queue[Delivery]] = [asyncio.Queue() for _ in range(plan.lanes)]
        self._kept: deque[Delivery] = deque(maxlen=DELIVERIES_KEPT_MAX)
        self._number = 0
        self._pending = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._client: httpx.AsyncClient | None = None

    @property
    def pending(self) -> int:
        """How many are on their way."""
        return self._pending

    def start(self) -> None:
        """Begin to post."""
        self._client = provider_client(read_timeout_s=self._plan.timeout_s)
        self._tasks = [asyncio.create_task(self._run(lane, self._client)) for lane in self._lanes]

    async def stop(self) -> None:
        """Stop posting; what is on its way is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def post(
        self,
        business: Business,
        value: Json,
        *,
        customer_id: str,
        label: str,
        field_name: str = "messages",
        on_attempt: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """Send one webhook on its way. `on_attempt` is called after each attempt.

        Raises:
            Overloaded: too many are on their way.
        """
        return self.post_bytes(
            business,
            body_bytes(envelope(business, field_name, value)),
            customer_id=customer_id,
            label=label,
            on_attempt=on_attempt,
        )

    def post_bytes(
        self,
        business: Business,
        body: bytes,
        *,
        customer_id: str,
        label: str,
        on_attempt: Callable[[Delivery], None] | None = None,
    ) -> Delivery:
        """Send one body on its way as it is, signed over exactly these bytes.

        Raises:
            Overloaded: too many are on their way.
        """
        if self._pending >= self._plan.pending_max:
            raise Overloaded(f"{self._pending} webhooks are on their way and not taken; is {business.webhook_url} up?")
        self._number += 1
        self._pending += 1
        delivery = Delivery(self._number, business, customer_id, label, body, utc_now(), on_attempt)
        self._kept.append(delivery)
        self._lane_of(delivery).put_nowait(delivery)
        return delivery

    def again(self, number: int) -> Delivery:
        """Post one of the kept webhooks once more, byte for byte.

        Raises:
            NotFound: it is not kept.
            Overloaded: too many are on their way.
        """
        for delivery in self._kept:
            if delivery.number == number:
                return self.post_bytes(
                    delivery.business, delivery.body, customer_id=delivery.customer_id, label=delivery.label
                )
        raise NotFound(f"webhook {number} is not among the last {DELIVERIES_KEPT_MAX}")

    def listed(self, *, after: int, state: str | None, limit: int, with_body: bool) -> list[dict[str, object]]:
        """The kept webhooks with a number above `after`, oldest first."""
        found = (d for d in self._kept if d.number > after and state in (None, d.state))
        return [delivery.as_json(with_body=with_body) for delivery, _ in zip(found, range(limit), strict=False)]

    def _lane_of(self, delivery: Delivery) -> asyncio.Queue[Delivery]:
        return self._lanes[zlib.crc32(delivery.customer_id.encode()) % len(self._lanes)]

    async def _run(self, lane: asyncio.Queue[Delivery], client: httpx.AsyncClient) -> None:
        while True:
            delivery = await lane.get()
            try:
                await self._attempt(delivery, client)
            except Exception:
                log.exception("webhook_lane_failed", number=delivery.number)

    async def _attempt(self, delivery: Delivery, client: httpx.AsyncClient) -> None:
        delivery.attempts += 1
        headers = {
            "content-type": "application/json",
            "user-agent": "facebookexternalua",
            "x-hub-signature-256": signature(delivery.body, delivery.business.app_secret.get_secret_value()),
        }
        try:
            answer = await client.post(delivery.business.webhook_url, content=delivery.body, headers=headers)
        except httpx.HTTPError as error:
            delivery.answers.append(type(error).__name__)
        else:
            delivery.answers.append(answer.status_code)
        self._settle(delivery)
        if delivery.on_attempt is not None:
            delivery.on_attempt(delivery)

    def _settle(self, delivery: Delivery) -> None:
        if delivery.answers[-1] == HTTP_OK:
            delivery.state = "delivered"
        elif delivery.attempts >= self._plan.attempts_max:
            delivery.state = "given_up"
            log.warning("webhook_given_up", number=delivery.number, answers=list(delivery.answers)[-3:])
        else:
            delays = self._plan.retry_delays_s
            wait_s = delays[min(delivery.attempts, len(delays)) - 1]
            asyncio.get_running_loop().call_later(wait_s, self._lane_of(delivery).put_nowait, delivery)
            return
        self._pending -= 1
        delivery.settled_at = utc_now()
