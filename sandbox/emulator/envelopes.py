"""Webhooks as Meta words them: the envelope, its values, and the bytes with their signature.

Shapes: developers.facebook.com/documentation/business-messaging/whatsapp/webhooks. A customer known by a BSUID alone
has no `wa_id` in contacts, no `from` in messages and no `recipient_id` in statuses.
"""

import hashlib
import hmac
import json
from datetime import datetime

from sandbox.emulator.config import Business, Customer
from sandbox.emulator.graph_errors import TITLES

Json = dict[str, object]

ERROR_CODES_URL = "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"


def envelope(business: Business, field: str, value: Json) -> Json:
    """The outermost object of one change."""
    metadata = {"display_phone_number": business.display_phone_number, "phone_number_id": business.phone_number_id}
    whole = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    entry = {"id": business.waba_id, "changes": [{"value": whole, "field": field}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def message_value(customer: Customer, message: Json, *, wamid: str, at: datetime) -> Json:
    """A message of a customer; `message` holds `type`, the object of that name, and `context` where it answers."""
    sender = {"from": customer.wa_id} if customer.wa_id else {}
    if customer.bsuid:
        sender["from_user_id"] = customer.bsuid
    whole = {**sender, "id": wamid, "timestamp": _seconds(at), **message}
    return {"contacts": [_contact(customer)], "messages": [whole]}


def echo_value(business: Business, customer: Customer, message: Json, *, wamid: str, at: datetime) -> Json:
    """A message that a person of the business wrote in its own app (field `smb_message_echoes`)."""
    whole: Json = {"from": business.display_phone_number}
    if customer.wa_id:
        whole["to"] = customer.wa_id
    if customer.bsuid:
        whole["to_user_id"] = customer.bsuid
    whole |= {"id": wamid, "timestamp": _seconds(at), **message}
    return {"contacts": [_contact(customer)], "message_echoes": [whole]}


def status_value(
    customer: Customer,
    status: str,
    *,
    wamid: str,
    at: datetime,
    correlation: str | None,
    conversation: Json | None = None,
    failed_code: int | None = None,
) -> Json:
    """What became of a message of the business. `conversation` brings the price along (with sent and delivered)."""
    whole: Json = {"id": wamid, "status": status, "timestamp": _seconds(at)}
    if customer.wa_id:
        whole["recipient_id"] = customer.wa_id
    if customer.bsuid:
        whole["recipient_user_id"] = customer.bsuid
    if correlation is not None:
        whole["biz_opaque_callback_data"] = correlation
    if conversation is not None:
        whole["conversation"] = conversation
        whole["pricing"] = {
            "billable": False,
            "pricing_model": "PMP",
            "category": "service",
            "type": "free_customer_service",
        }
    if failed_code is not None:
        whole["errors"] = [_fault(failed_code)]
    return {"statuses": [whole]}


def body_bytes(webhook: Json) -> bytes:
    """The bytes of a webhook: like Meta's, with everything beyond ASCII escaped in lower case and slashes too."""
    return json.dumps(webhook, ensure_ascii=True, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def signature(body: bytes, app_secret: str) -> str:
    """The value of `X-Hub-Signature-256` for exactly these bytes."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


def _contact(customer: Customer) -> Json:
    profile: Json = {"name": customer.name}
    if customer.username:
        profile["username"] = customer.username
    contact: Json = {"profile": profile}
    if customer.wa_id:
        contact["wa_id"] = customer.wa_id
    if customer.bsuid:
        contact["user_id"] = customer.bsuid
    return contact


def _fault(code: int) -> Json:
    title = TITLES.get(code, "Something went wrong")
    details = {"details": f"{title}."}
    return {"code": code, "title": title, "message": title, "error_data": details, "href": ERROR_CODES_URL}


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
