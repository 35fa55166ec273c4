"""What tests arrange with: tenants with accounts, webhook bodies in Meta's shape, and rows read back."""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from channels.protocol import Secrets
from channels.registration import add_account, add_app
from core.crypto import Sealer
from core.errors import Conflict
from core.ids import AccountId, TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import edge_tx, tenant_tx
from inbox.explode import explode_due
from inbox.split import split_due

APP_SECRET = b"app secret"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Organisation:
    """A tenant with one WhatsApp account."""

    tenant_id: TenantId
    account_id: AccountId
    phone_number_id: str


def an_organisation(admin_url: str, sealer: Sealer, *, app: str | None = None, debounce_ms: int = 0) -> Organisation:
    tenant_id = create_tenant(admin_url, slug=new_id("slug").replace("_", "-"), name="An organisation")
    return with_account(admin_url, sealer, tenant_id, app=app, debounce_ms=debounce_ms)


def with_account(
    admin_url: str, sealer: Sealer, tenant_id: TenantId, *, app: str | None = None, debounce_ms: int = 0
) -> Organisation:
    phone_number_id = a_number()
    account_id = add_account(
        admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id=phone_number_id, name="WhatsApp",
        secrets=Secrets(signing=(APP_SECRET,), verify_token="verify", access_token="token"),
        app=app, debounce_ms=debounce_ms,
    )  # fmt: skip
    return Organisation(tenant_id, account_id, phone_number_id)


def the_meta_app(admin_url: str, sealer: Sealer) -> None:
    """Register the one Meta app; at once back when an earlier test did."""
    try:
        add_app(
            admin_url, sealer, provider="meta", name="Meta", secrets=Secrets(signing=(APP_SECRET,), verify_token="v")
        )
    except Conflict:
        return


def a_number() -> str:
    """A phone_number_id or wa_id that no other test uses."""
    return f"{int(new_id('n')[2:], 36) % 10**9:09d}{next(_numbers):06d}"


def a_wamid() -> str:
    return f"wamid.{new_id('w').upper()}"


def a_text(
    text: str, *, sender: str, wamid: str | None = None, timestamp: int = 1_790_000_000, **fields: Any
) -> dict[str, Any]:
    message = {"from": sender, "id": wamid or a_wamid(), "timestamp": str(timestamp), "type": "text"}
    return message | {"text": {"body": text}} | fields


def a_status(
    wamid: str, status: str, *, recipient: str, correlation: str | None = None, timestamp: int = 1_790_000_100
) -> dict[str, Any]:
    update = {"id": wamid, "status": status, "timestamp": str(timestamp), "recipient_id": recipient}
    return update | ({"biz_opaque_callback_data": correlation} if correlation else {})


def a_change(phone_number_id: str, *, field: str = "messages", **lists: Sequence[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"display_phone_number": "911140000000", "phone_number_id": phone_number_id}
    value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": metadata}
    senders = {message["from"] for message in lists.get("messages", ())}
    if senders:
        value["contacts"] = [
            {"wa_id": sender, "profile": {"name": f"Person {sender[-4:]}"}} for sender in sorted(senders)
        ]
    return {"field": field, "value": value | {name: list(entries) for name, entries in lists.items()}}


def a_body(*entries: Sequence[dict[str, Any]]) -> bytes:
    """A webhook body; each entry is a list of changes."""
    envelope = {
        "object": "whatsapp_business_account",
        "entry": [{"id": f"{index}", "changes": list(changes)} for index, changes in enumerate(entries)],
    }
    return json.dumps(envelope).encode()


async def store(
    database: Database,
    sealer: Sealer,
    source_id: str,
    body: bytes,
    *,
    channel: str = "whatsapp",
    tenant_id: TenantId | None = None,
) -> None:
    """Put one body into the inbox as the edge does."""
    sealed = sealer.seal(body, context=f"inbox:{source_id}")
    async with edge_tx(database, commit="test") as connection:
        await connection.execute(
            """INSERT INTO core.inbox
                 (source_id, tenant_id, channel, verdict, dedupe_key, body_bytes, body_sealed, body_wrapped_key)
               VALUES (%s, %s, %s, 'signed', %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
            (
                source_id,
                tenant_id,
                channel,
                hashlib.sha256(body).digest(),
                len(body),
                sealed.ciphertext,
                sealed.wrapped_key,
            ),
        )


async def take_in(database: Database, sealer: Sealer) -> None:
    """Split and explode until nothing is left to do."""
    while await split_due(database, sealer, limit=64) or await explode_due(database, sealer, limit=256):
        pass


async def receive(database: Database, sealer: Sealer, organisation: Organisation, *messages: dict[str, Any]) -> None:
    """Take in one body with these messages for this organisation."""
    body = a_body([a_change(organisation.phone_number_id, messages=messages)])
    await store(database, sealer, organisation.account_id, body)
    await take_in(database, sealer)


async def rows(database: Database, tenant_id: TenantId, query: str, *values: object) -> list[dict[str, Any]]:
    """What a query of this tenant gives."""
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()
