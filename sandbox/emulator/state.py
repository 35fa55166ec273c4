"""All that one emulator knows, and the acts that touch more than one part of it."""

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fastapi import Request

from core.clock import utc_now
from core.errors import NotFound, Overloaded
from core.log import logger
from sandbox.emulator.config import Business, Customer, EmulatorConfig, StatusPlan
from sandbox.emulator.delivery import WebhookPost
from sandbox.emulator.envelopes import Json, status_value
from sandbox.emulator.events import EventStream
from sandbox.emulator.faults import Fault, Faults
from sandbox.emulator.media import MediaStore
from sandbox.emulator.sent_log import SentLog
from sandbox.emulator.transcript import ChatMessage, Transcript
from sandbox.emulator.validation import Recipient

CONVERSATION_HOURS = 24
CONVERSATIONS_MAX = 10_000

log = logger(__name__)


@dataclass(slots=True)
class Emulator:
    """The parts. They live as long as the process."""

    config: EmulatorConfig
    statuses: StatusPlan
    events: EventStream
    transcript: Transcript
    post: WebhookPost
    faults: Faults = field(default_factory=Faults)
    media: MediaStore = field(default_factory=MediaStore)
    sent: SentLog = field(default_factory=SentLog)
    conversations: dict[tuple[str, str], tuple[str, datetime]] = field(default_factory=dict)

    def business(self, phone_number_id: str) -> Business:
        """The business of a number.

        Raises:
            NotFound: no business here has it.
        """
        for business in self.config.businesses:
            if business.phone_number_id == phone_number_id:
                return business
        known = ", ".join(business.phone_number_id for business in self.config.businesses) or "none"
        raise NotFound(f"no business has phone_number_id {phone_number_id!r}; known: {known}")

    def customer(self, customer_id: str) -> Customer:
        """The customer of an id.

        Raises:
            NotFound: there is none.
        """
        for customer in self.config.customers:
            if customer_id in (customer.wa_id, customer.bsuid):
                return customer
        raise NotFound(f"no customer {customer_id!r} lives here; GET /sandbox/state lists them")

    def reached(self, recipient: Recipient) -> Customer:
        """The person behind a recipient; a stranger with that number where none of ours has it."""
        wanted = recipient.wa_id or recipient.bsuid or ""
        for customer in self.config.customers:
            if wanted in (customer.wa_id, customer.bsuid):
                return customer
        return Customer(name=wanted, wa_id=recipient.wa_id, bsuid=recipient.bsuid)

    def businesses_of(self, token: str) -> list[Business]:
        """The businesses that an access token speaks for."""
        given = token.encode()
        return [
            business
            for business in self.config.businesses
            if hmac.compare_digest(business.access_token.get_secret_value().encode(), given)
        ]

    def start_over(self) -> None:
        """Forget what was said, sent and asked for; businesses, customers and webhooks on their way stay."""
        self.statuses = self.config.statuses
        self.transcript.clear()
        self.sent.clear()
        self.faults.clear()
        self.conversations.clear()
        self.events.start_over()

    def schedule_statuses(
        self, business: Business, customer: Customer, wamid: str, correlation: str | None, fault: Fault | None
    ) -> None:
        """Let the status webhooks of an accepted message follow, each after its delay."""
        plan = self.statuses
        if not plan.enabled:
            return
        steps: list[tuple[str, float]] = list(zip(plan.order, plan.delays_ms, strict=False))
        if fault is not None and fault.kind == "status_failed":
            steps = [("failed", plan.delays_ms[0] if plan.delays_ms else 0)]
        loop = asyncio.get_running_loop()
        for status, delay_ms in steps:
            failed_code = fault.code if fault is not None and status == "failed" else None
            loop.call_later(
                delay_ms / 1000, self._post_status, business, customer, status, wamid, correlation, failed_code
            )

    def _post_status(
        self,
        business: Business,
        customer: Customer,
        status: str,
        wamid: str,
        correlation: str | None,
        failed_code: int | None,
    ) -> None:
        now = utc_now()
        value = status_value(
            customer,
            status,
            wamid=wamid,
            at=now,
            correlation=correlation,
            conversation=self._conversation(business, customer, status, now),
            failed_code=failed_code,
        )
        try:
            for _ in range(self.statuses.copies):
                self.post.post(business, value, customer_id=customer.id, label=f"status/{status}")
        except Overloaded as error:
            log.warning("status_dropped", status=status, reason=error.message)

    def _conversation(self, business: Business, customer: Customer, status: str, now: datetime) -> Json | None:
        """The conversation of 24 hours; Meta names its end with `sent` alone and leaves it out of `read`."""
        if status not in ("sent", "delivered"):
            return None
        key = (business.phone_number_id, customer.id)
        known = self.conversations.get(key)
        if known is None or known[1] <= now:
            if len(self.conversations) >= CONVERSATIONS_MAX:
                self.conversations.clear()
            known = (secrets.token_hex(16), now + timedelta(hours=CONVERSATION_HOURS))
            self.conversations[key] = known
        conversation: Json = {"id": known[0]}
        if status == "sent":
            conversation["expiration_timestamp"] = str(int(known[1].timestamp()))
        return {**conversation, "origin": {"type": "service"}}


def new_emulator(config: EmulatorConfig) -> Emulator:
    """An emulator with nothing said yet."""
    events = EventStream()

    def tell(message: ChatMessage) -> None:
        events.publish(message.customer, "message", message.as_json)

    return Emulator(
        config=config,
        statuses=config.statuses,
        events=events,
        transcript=Transcript(tell),
        post=WebhookPost(config.delivery),
    )


def emulator_of(request: Request) -> Emulator:
    """The emulator that this request is for."""
    return request.app.state.emulator
