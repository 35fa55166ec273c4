"""How each channel presents itself to the conformance suite."""

import json
from typing import Any

from channels import whatsapp
from channels.meta import SIGNATURE_HEADER
from tests.channels.conformance import Subject, fixture_bodies, hex_hmac_sha256

UNKNOWN_TO_WHATSAPP = frozenset(
    {
        "account_update",
        "contacts",
        "echo_edit",
        "echo_revoke",
        "errors_of_a_value",
        "field_of_the_future",
        "flow_reply",
        "group_text",
        "history",
        "location",
        "order",
        "status_deleted",
        "status_of_payment",
        "system_number_changed",
        "system_user_id_changed",
        "message_template_status_update",
        "type_of_the_future",
    }
)


def meta_sign(secret: bytes, body: bytes) -> dict[str, bytes]:
    return {SIGNATURE_HEADER: b"sha256=" + hex_hmac_sha256(secret, body)}


def meta_handshake(token: str, challenge: str) -> dict[str, str]:
    return {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": challenge}


def whatsapp_split(body: bytes) -> list[bytes]:
    """One entry, one change and one message, status or echo in each."""
    envelope = json.loads(body)
    parts: list[dict[str, Any]] = []
    for entry in envelope["entry"]:
        for change in entry["changes"]:
            parts += [{**entry, "changes": [{**change, "value": value}]} for value in _values(change["value"])]
    return [json.dumps({**envelope, "entry": [part]}).encode() for part in parts]


def whatsapp_merge(bodies: list[bytes]) -> bytes:
    """Every entry of every body in one."""
    envelopes = [json.loads(body) for body in bodies]
    return json.dumps({**envelopes[0], "entry": [entry for one in envelopes for entry in one["entry"]]}).encode()


def _values(value: dict[str, Any]) -> list[dict[str, Any]]:
    batched = ("messages", "statuses", "errors", "message_echoes")
    rest = {key: part for key, part in value.items() if key not in batched}
    parts = [{**rest, key: [part]} for key in value if key in batched for part in value[key]]
    return parts or [value]


SUBJECTS = {
    "whatsapp": Subject(
        channel=whatsapp,
        bodies=fixture_bodies("whatsapp"),
        unknown=UNKNOWN_TO_WHATSAPP,
        sign=meta_sign,
        signature_header=SIGNATURE_HEADER,
        handshake=meta_handshake,
        split=whatsapp_split,
        merge=whatsapp_merge,
    ),
}
