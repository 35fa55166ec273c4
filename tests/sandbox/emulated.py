"""An emulator for tests: two organisations, three customers, and a client that calls it in this process."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from sandbox.emulator.app import create_app
from sandbox.emulator.config import CONFIG_VARIABLE, EmulatorConfig
from tests.sandbox.webhook_receiver import Receiver, receiving

NUMBER = "106540352242922"
OTHER_NUMBER = "206540352242922"
TOKEN = "EAAtoken"
SECRET = "app-secret"
PRIYA = "919800000001"
FARAH = "IN.13491208655302741918"
SEND = f"/v26.0/{NUMBER}/messages"
POLL_S = 0.005

Found = TypeVar("Found")


def a_config(webhook_url: str, **changes: object) -> dict:
    """The configuration as the supervisor writes it."""
    business = {
        "name": "Asha Foundation",
        "about": "An NGO in four cities: scholarships, health camps and donations.",
        "slug": "asha",
        "channel": "whatsapp",
        "phone_number_id": NUMBER,
        "waba_id": "102290129340398",
        "display_phone_number": "918041234567",
        "access_token": TOKEN,
        "app_secret": SECRET,
        "verify_token": "verify-me",
        "webhook_url": webhook_url,
    }
    other = {
        **business,
        "name": "Nagar Motors",
        "about": "Scooters, service and spares in Pune.",
        "slug": "nagar",
        "phone_number_id": OTHER_NUMBER,
        "access_token": "EAAother",
        "suggestions": ["When are you open?"],
    }
    customers = [
        {
            "name": "Priya Nair",
            "wa_id": PRIYA,
            "about": "A software engineer in Bengaluru who gives every month.",
            "talks_to": ["asha"],
            "try_asking": ["Can I get a tax receipt for my donation?", "How do I change my monthly amount?"],
        },
        {"name": "Farah", "bsuid": FARAH, "username": "farah.writes", "about": "A new donor who hides her number."},
        {"name": "Sanjay Kulkarni", "wa_id": "919800000006", "bsuid": "IN.777", "talks_to": ["nagar", "asha"]},
    ]
    return {
        "businesses": [business, other],
        "customers": customers,
        "statuses": {"order": ["sent", "delivered", "read"], "delays_ms": [1, 5, 10]},
        "delivery": {"retry_delays_s": [0.01, 0.02], "attempts_max": 5},
        **changes,
    }


@dataclass
class Emulated:
    """A running emulator, the product's webhook, and a client with the product's token."""

    client: httpx.AsyncClient
    product: Receiver

    async def send(self, *, timeout_s: float = 10, **message: object) -> httpx.Response:
        """POST one message as the product does; `text="…"` stands for a whole text message to Priya."""
        words = message.pop("text", None)
        body = {"messaging_product": "whatsapp", "to": PRIYA, **message}
        if words is not None:
            body |= {"type": "text", "text": {"body": words}}
        return await self.client.post(SEND, json=body, timeout=timeout_s)

    async def act(self, customer: str = PRIYA, **fields: object) -> dict:
        """Let a customer do something."""
        answer = await self.client.post(f"/sandbox/customers/{customer}/messages", json={"business": NUMBER, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def transcript(self, customer: str = PRIYA) -> list[dict]:
        """What stands on the customer's phone."""
        answer = await self.client.get("/sandbox/state", params={"customer": customer, "business": NUMBER})
        return answer.json()["transcript"]


@asynccontextmanager
async def emulated(**changes: object) -> AsyncIterator[Emulated]:
    """An emulator and the webhook it posts to, until the block ends."""
    async with receiving() as product:
        app = create_app(EmulatorConfig.model_validate(a_config(product.url, **changes)))
        transport = httpx.ASGITransport(app)
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://graph.test", headers=headers) as client,
        ):
            yield Emulated(client, product)


@asynccontextmanager
async def served(folder: Path, *, port: int | None = None, **changes: object) -> AsyncIterator[Emulated]:
    """The same as `emulated`, but in a process of its own behind Granian, as `chowk dev` runs it."""
    async with receiving() as product:
        path = folder / "sandbox.json"
        path.write_text(json.dumps(a_config(product.url, **changes)))
        port = port or free_port()
        command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--port", str(port)]
        command += ["--workers-kill-timeout", "2", "--no-ws", "sandbox.emulator.app:create_app"]
        with (folder / "emulator.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env={**os.environ, CONFIG_VARIABLE: str(path)}, stdout=log, stderr=log
            )
        try:
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
                emulator = Emulated(client, product)
                await eventually(lambda: _answers(client))
                yield emulator
        finally:
            process.terminate()
            await process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).is_success
    except httpx.TransportError:
        return False


async def eventually(look: Callable[[], Awaitable[Found]]) -> Found:
    """Look until there is something to see, for at most ten seconds."""
    async with asyncio.timeout(10):
        while not (found := await look()):  # noqa: ASYNC110 - what is waited for lives in another process
            await asyncio.sleep(POLL_S)
        return found
