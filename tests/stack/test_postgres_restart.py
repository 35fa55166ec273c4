"""Postgres is killed under load and comes back: nobody is told 200 in vain, and nobody has to do anything."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from bench.running_stack import RunningStack
from bench.whatsapp_bodies import signed_text
from sandbox.process_table import program_name
from tests.builders import a_number
from tests.eventually import eventually
from tests.stack.test_whatsapp import QUIET_S, sent_to

QUESTION = "Can I get a tax receipt for my donation?"
#: Between two people who begin to write, and between the attempts of a provider that was told 503.
PACE_S = 0.25


@dataclass(slots=True)
class Provider:
    """Posts each person's question until it is told 200, as providers do; remembers what it was told, in order."""

    client: httpx.AsyncClient
    product: RunningStack
    told: list[int] = field(default_factory=list[int])
    senders: list[str] = field(default_factory=list[str])

    async def post(self) -> None:
        """Somebody asks; returns once that is acknowledged."""
        facts, sender = self.product.facts(), a_number()
        account = facts["accounts"]["whatsapp"]
        body, headers = signed_text(
            QUESTION,
            sender=sender,
            phone_number_id=account["phone_number_id"],
            app_secret=facts["meta_app"]["app_secret"],
        )
        while True:
            answer = await self.client.post(account["webhook_url"], content=body, headers=headers)
            self.told.append(answer.status_code)
            if answer.is_success:
                break
            await asyncio.sleep(PACE_S)
        self.senders.append(sender)

    @asynccontextmanager
    async def under_load(self) -> AsyncGenerator[None]:
        """A new person writes every so often; at the end everybody who wrote has been acknowledged."""
        async with asyncio.TaskGroup() as people:

            async def keep_coming() -> None:
                while True:
                    people.create_task(self.post())
                    await asyncio.sleep(PACE_S)

            coming = people.create_task(keep_coming())
            yield
            coming.cancel()

    async def hears(self, status: int, *, times: int = 1) -> None:
        """Return once this was told so many times more."""
        before = self.told.count(status)

        async def it_was() -> bool:
            return self.told.count(status) >= before + times

        await eventually(it_was)


@pytest.fixture
async def provider(product: RunningStack) -> AsyncIterator[Provider]:
    async with httpx.AsyncClient(timeout=10) as client:
        yield Provider(client, product)


@asynccontextmanager
async def kept_away(product: RunningStack) -> AsyncGenerator[None]:
    """Every postmaster that the supervisor starts is killed."""

    async def kill() -> None:
        killed: set[int] = set()
        while True:
            for pid in product.pids("postgres")[:1]:
                if pid not in killed and program_name(pid) == "postgres":
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            await asyncio.sleep(PACE_S)

    async with asyncio.TaskGroup() as killers:
        killer = killers.create_task(kill())
        yield
        killer.cancel()


@pytest.mark.chaos
async def test_while_postgres_is_away_webhooks_are_told_503_and_all_that_was_told_200_is_answered_once(
    product: RunningStack, provider: Provider
) -> None:
    async with provider.under_load():
        await provider.hears(200, times=5)
        async with kept_away(product):
            await provider.hears(503)
        await provider.hears(200, times=5)
    await provider.post()
    assert set(provider.told) == {200, 503}

    async def all_are_answered() -> bool:
        return all([await sent_to(provider.client, product, sender) for sender in provider.senders])

    await eventually(all_are_answered)
    await asyncio.sleep(QUIET_S)
    replies = {sender: len(await sent_to(provider.client, product, sender)) for sender in provider.senders}
    assert replies == dict.fromkeys(provider.senders, 1)
