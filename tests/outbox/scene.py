"""Builders: an account, a conversation, queued messages, and a provider that answers as it is told."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from psycopg.types.json import Jsonb

from channels.events import Identity
from channels.messages import OutboundText, ReadAndTyping
from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from core.ids import AccountId, ConversationId, TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from outbox.begin import Sending
from outbox.deliver import Outbox, send, take_up_due
from outbox.effects import Delivery, queue_message, queue_read_and_typing

ASHA = Identity(kind="wa_id", value="919900112233")
GRAPH_URL = "https://graph.example"
SENT_SHAPE = {"messaging_product": "whatsapp", "contacts": [{"input": ASHA.value, "wa_id": ASHA.value}]}


def sent(wamid: str) -> httpx.Response:
    return httpx.Response(200, json=SENT_SHAPE | {"messages": [{"id": wamid}]})


def refused(code: int, *, status: int = 400, headers: Mapping[str, str] | None = None) -> httpx.Response:
    error = {"message": f"(#{code}) told so", "type": "OAuthException", "code": code, "fbtrace_id": "A1"}
    return httpx.Response(status, json={"error": error}, headers=headers)


@dataclass
class Provider:
    """Answers the calls in the order of its script, then goes on with fresh wamids; keeps what it was sent."""

    script: list[httpx.Response | Exception | Callable[[], Any]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [body["text"]["body"] for body in self.bodies if "text" in body]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        if not self.script:
            return sent(new_id("wamid"))
        step = self.script.pop(0)
        if callable(step):
            step = await step()
        if isinstance(step, Exception):
            raise step
        return step

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=GRAPH_URL, transport=httpx.MockTransport(self.answer))


@dataclass
class Scene:
    """One tenant's account and the effects queued in it; `lane` is its own, so that tests do not claim each other's."""

    database: Database
    sealer: Sealer
    tenant: TenantId
    account: AccountId
    provider: Provider

    @property
    def lane(self) -> str:
        return self.tenant

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.database, self.sealer, {"whatsapp": self.provider.client()})

    async def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        async with tenant_tx(self.database, self.tenant, commit="test") as connection:
            cursor = await connection.execute(statement.encode(), values)
            return [] if cursor.description is None else await cursor.fetchall()

    async def effect(self, key: str) -> dict[str, Any]:
        [row] = await self.rows("SELECT * FROM core.effects WHERE key = %s", key)
        return row

    async def message(self, key: str) -> dict[str, Any] | None:
        rows = await self.rows("SELECT * FROM messages WHERE effect_key = %s", key)
        return rows[0] if rows else None

    async def set_effect(self, key: str, assignment: str) -> None:
        await self.rows(f"UPDATE core.effects SET {assignment} WHERE key = %s", key)

    async def a_conversation(self) -> ConversationId:
        contact, conversation = new_id("con"), ConversationId(new_id("conv"))
        await self.rows("INSERT INTO contacts (id, name) VALUES (%s, 'Asha')", contact)
        await self.rows(
            "INSERT INTO conversations (id, account_id, contact_id, channel, recipient) VALUES (%s, %s, %s, %s, %s)",
            conversation, self.account, contact, "whatsapp", Jsonb(ASHA.model_dump()),
        )  # fmt: skip
        return conversation

    async def queue(
        self, conversation: ConversationId, text: str = "Namaste", *, delivery: Delivery = "at_least_once"
    ) -> str:
        key = new_id("key")
        async with tenant_tx(self.database, self.tenant, commit="test") as connection:
            await queue_message(
                connection, key=key, run_id=new_id("run"), conversation_id=conversation, account_id=self.account,
                message=OutboundText(to=ASHA, text=text), delivery=delivery, citations=[],
            )  # fmt: skip
            await connection.execute("UPDATE core.effects SET lane = %s WHERE key = %s", (self.lane, key))
        return key

    async def queue_sign_of_reading(self, conversation: ConversationId, *, run_id: str | None = None) -> str:
        key = new_id("key")
        async with tenant_tx(self.database, self.tenant, commit="test") as connection:
            await queue_read_and_typing(
                connection, key=key, run_id=run_id or new_id("run"), conversation_id=conversation,
                account_id=self.account, message=ReadAndTyping(provider_message_id="wamid.in"),
            )  # fmt: skip
            await connection.execute("UPDATE core.effects SET lane = %s WHERE key = %s", (self.lane, key))
        return key

    async def take_up(self, *, limit: int = 16) -> list[Sending]:
        sendings: list[Sending] = []
        await take_up_due(self.outbox, lanes=[self.lane], limit=limit, start=sendings.append)
        return sendings

    async def deliver(self, *, limit: int = 16) -> int:
        """One round: take up what is due and send it; gives how many left for the provider."""
        sendings = await self.take_up(limit=limit)
        for sending in sendings:
            await send(self.outbox, sending)
        return len(sendings)


def a_scene(
    database: Database, sealer: Sealer, tenant: TenantId, admin_url: str, *, provider: Provider | None = None
) -> Scene:
    account = add_account(
        admin_url, sealer, tenant_id=tenant, channel="whatsapp", external_id=new_id("pn").removeprefix("pn_"),
        name="Helpline", secrets=Secrets(signing=(b"app",), access_token="token"),
    )  # fmt: skip
    return Scene(database, sealer, tenant, account, provider or Provider())
