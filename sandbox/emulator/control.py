"""The levers of tests, demonstrations and benchmarks: what was sent, what was posted, and what shall go wrong."""

import secrets
from typing import Annotated

import httpx
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from core.clock import utc_now
from core.http import provider_client
from sandbox.emulator.config import StatusPlan
from sandbox.emulator.delivery import DeliveryState
from sandbox.emulator.envelopes import echo_value
from sandbox.emulator.faults import Fault
from sandbox.emulator.state import emulator_of
from sandbox.emulator.transcript import ChatMessage
from sandbox.emulator.validation import TEXT_CHARS_MAX
from sandbox.emulator.wamid import new_wamid

PAGE_MAX = 1000
HANDSHAKE_TIMEOUT_S = 10.0
ANSWER_CHARS_SHOWN_MAX = 200

router = APIRouter(prefix="/sandbox")

After = Annotated[int, Query(ge=0)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


class Echo(BaseModel):
    """What a person of the business writes in its own app."""

    model_config = ConfigDict(extra="forbid")

    customer: str
    text: str = Field(min_length=1, max_length=TEXT_CHARS_MAX)


@router.put("/faults")
async def add_fault(fault: Fault, request: Request) -> dict[str, object]:
    """Let the next calls of the Graph API go wrong; faults queue up in the order they were asked for."""
    emulator = emulator_of(request)
    emulator.faults.add(fault)
    return {"items": emulator.faults.listed()}


@router.get("/faults")
async def list_faults(request: Request) -> dict[str, object]:
    """The faults that have not hit yet."""
    return {"items": emulator_of(request).faults.listed()}


@router.delete("/faults")
async def clear_faults(request: Request) -> dict[str, object]:
    """Let everything go well again."""
    return {"cleared_calls": emulator_of(request).faults.clear()}


@router.put("/statuses")
async def plan_statuses(plan: StatusPlan, request: Request) -> StatusPlan:
    """Change which statuses follow a message, their order and their delays; `enabled: false` switches them off."""
    emulator_of(request).statuses = plan
    return plan


@router.delete("/statuses")
async def reset_statuses(request: Request) -> StatusPlan:
    """Go back to the statuses of the configuration."""
    emulator = emulator_of(request)
    emulator.statuses = emulator.config.statuses
    return emulator.statuses


@router.get("/sent")
async def list_sent(
    request: Request,
    after: After = 0,
    limit: Limit = 100,
    customer: str | None = None,
    business: str | None = None,
    correlation: str | None = None,
) -> dict[str, object]:
    """Accepted messages of the product, oldest first; go on with `after` = the last `number`."""
    sent = emulator_of(request).sent
    items = sent.listed(after=after, limit=limit, customer=customer, phone_number_id=business, correlation=correlation)
    return {"items": items, "total": sent.total}


@router.delete("/sent")
async def clear_sent(request: Request) -> dict[str, object]:
    """Forget the accepted messages; the phones keep theirs."""
    emulator_of(request).sent.clear()
    return {"total": 0}


@router.get("/deliveries")
async def list_deliveries(
    request: Request,
    after: After = 0,
    limit: Limit = 100,
    state: DeliveryState | None = None,
    bodies: bool = False,  # noqa: FBT001,FBT002 - a query parameter is named where it is given
) -> dict[str, object]:
    """Webhooks with what the product answered, oldest first; `bodies=true` shows the exact bytes."""
    post = emulator_of(request).post
    return {"items": post.listed(after=after, state=state, limit=limit, with_body=bodies), "pending": post.pending}


@router.post("/deliveries/{number}/again")
async def post_again(number: int, request: Request) -> dict[str, object]:
    """Post one webhook once more, byte for byte, as Meta now and then does."""
    return emulator_of(request).post.again(number).as_json(with_body=False)


@router.post("/businesses/{phone_number_id}/echoes")
async def echo(phone_number_id: str, written: Echo, request: Request) -> dict[str, object]:
    """A person of the business answers in the business's own app, past the product."""
    emulator = emulator_of(request)
    business, customer = emulator.business(phone_number_id), emulator.customer(written.customer)
    wamid, now = new_wamid(customer.id, "outbound"), utc_now()
    message: dict[str, object] = {"type": "text", "text": {"body": written.text}}
    emulator.post.post(
        business,
        echo_value(business, customer, message, wamid=wamid, at=now),
        customer_id=customer.id,
        label="smb_message_echoes/text",
        field_name="smb_message_echoes",
    )
    bubble = ChatMessage(wamid, phone_number_id, customer.id, "business", "text", now, written.text, by_app=True)
    return {"id": wamid, "message": emulator.transcript.add(bubble).as_json()}


@router.post("/businesses/{phone_number_id}/subscribe")
async def subscribe(phone_number_id: str, request: Request) -> dict[str, object]:
    """Check the webhook URL as Meta does before it posts there: GET with `hub.challenge`, which must come back."""
    business = emulator_of(request).business(phone_number_id)
    challenge = str(secrets.randbelow(9 * 10**8) + 10**8)
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": challenge,
        "hub.verify_token": business.verify_token.get_secret_value(),
    }
    try:
        async with provider_client(read_timeout_s=HANDSHAKE_TIMEOUT_S) as client:
            answer = await client.get(business.webhook_url, params=query)
    except httpx.HTTPError as error:
        return {
            "subscribed": False,
            "http_status": None,
            "detail": f"no answer: {type(error).__name__} {error}".strip(),
        }
    if answer.is_success and answer.text == challenge:
        return {"subscribed": True, "http_status": answer.status_code, "detail": "the challenge came back"}
    shown = answer.text[:ANSWER_CHARS_SHOWN_MAX]
    detail = f"expected the challenge {challenge} as the whole body, got {shown!r}"
    return {"subscribed": False, "http_status": answer.status_code, "detail": detail}
