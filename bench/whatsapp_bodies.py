"""Signed webhook bodies in Meta's shape and size, each with ids of its own."""

import hashlib
import hmac
import json
import secrets
import time


def signed_text(
    text: str, *, sender: str, phone_number_id: str, app_secret: str, name: str = "A person"
) -> tuple[bytes, dict[str, str]]:
    """One text message as a body, and the headers it is posted with."""
    message = {
        "from": sender,
        "id": f"wamid.HBgM{secrets.token_hex(20).upper()}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": text},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "911140000100", "phone_number_id": phone_number_id},
        "contacts": [{"profile": {"name": name}, "wa_id": sender}],
        "messages": [message],
    }
    envelope = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}],
    }
    body = json.dumps(envelope, separators=(",", ":")).encode()
    return body, signed_headers(body, app_secret=app_secret)


def signed_headers(body: bytes, *, app_secret: str) -> dict[str, str]:
    """The headers that Meta posts this body with."""
    signature = hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={signature}", "content-type": "application/json"}
