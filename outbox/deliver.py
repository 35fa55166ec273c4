"""Delivery: effects that are due leave for their provider, each at most once per `sending`.

One message takes two transactions: `sending` is committed before the socket opens, the outcome after it closed. What
the poll claims takes one more, over all tenants; what this process has just committed itself does not.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import httpx
import psycopg

from channels.protocol import SendReceipt
from channels.registry import channel
from core.crypto import Sealer
from core.errors import ChowkError, FenceLost, NotFound, ProviderRefused, ProviderUnclear, SettingInvalid
from core.ids import ConversationId, TenantId
from core.log import logger
from core.telemetry import STAGE_SECONDS, trace_id
from db.pools import Connection, Database
from db.transactions import DatabaseUnavailable, tenant_tx
from outbox.begin import SENDING_LEASE_S, Sending, begin
from outbox.claim import Claim, claim_due, claim_of_conversation
from outbox.outcome import write_refused, write_sent, write_unclear
from outbox.settle import settle

log = logger(__name__)

#: A call that has not ended by then is unclear; what is left of the lease is for writing that down.
CALL_S_MAX = 20.0
#: An answer that could not be written is tried again this often while the lease lasts.
WRITE_RETRY_S = 0.5

#: Begins one `send`, beside whatever else this process does.
Start = Callable[[Sending], None]


@dataclass(frozen=True, slots=True)
class Outbox:
    """What a process needs to deliver."""

    database: Database
    sealer: Sealer
    #: One client per channel; its base is the provider's URL.
    clients: Mapping[str, httpx.AsyncClient]


async def take_up_due(outbox: Outbox, *, lanes: Sequence[str], limit: int, start: Start) -> int:
    """Claim up to `limit` due effects of these lanes and start what may leave; gives how many were taken up.

    One tenant's trouble is logged and leaves the others alone: its claims come back when their lease is over.
    """
    taken_up = 0
    claims = await claim_due(outbox.database, lanes=lanes, limit=limit)
    claims.sort(key=lambda claim: claim.tenant_id)
    for tenant_id, group in groupby(claims, key=lambda claim: claim.tenant_id):
        try:
            taken_up += await _take_up(outbox, tenant_id, list(group), start)
        except (ChowkError, psycopg.Error) as error:
            log.warning("effects_not_begun", tenant_id=tenant_id, error=str(error))
    return taken_up


async def take_up_conversation(
    outbox: Outbox, tenant_id: TenantId, conversation_id: ConversationId, *, start: Start
) -> None:
    """Start what one conversation may send now: for effects that this process has just committed.

    Raises:
        DatabaseUnavailable: nothing was begun; the poll will find the effects.
    """
    async with tenant_tx(outbox.database, tenant_id, commit="outbox.begin") as connection:
        claims = await claim_of_conversation(connection, conversation_id)
        sendings = await begin(connection, outbox.sealer, claims) if claims else []
    for sending in sendings:
        start(sending)


async def send(outbox: Outbox, sending: Sending) -> bool:
    """Hand one message to its provider and write what became of it.

    Gives whether the conversation has more to send. Raises nothing that a provider or a database may do.
    """
    trace_id.set(sending.trace_id)
    with STAGE_SECONDS.labels("send").time():
        outcome = await _call(outbox, sending)
    try:
        async with asyncio.timeout(SENDING_LEASE_S - CALL_S_MAX):
            return await _write(outbox, sending, outcome)
    except (FenceLost, TimeoutError) as error:
        # The effect is `sending` with a lease that ends: it becomes `unknown`, and the provider's status settles it.
        log.warning("outcome_not_written", effect_id=sending.effect_id, error=str(error) or "no database in time")
        return False


async def _take_up(outbox: Outbox, tenant_id: TenantId, claims: Sequence[Claim], start: Start) -> int:
    queued = [claim for claim in claims if claim.state == "queued"]
    async with tenant_tx(outbox.database, tenant_id, commit="outbox.begin") as connection:
        await settle(connection, claims)
        sendings = await begin(connection, outbox.sealer, queued) if queued else []
    for sending in sendings:
        start(sending)
    return len(claims)


async def _call(outbox: Outbox, sending: Sending) -> SendReceipt | ProviderRefused | ProviderUnclear:
    account = sending.account
    try:
        async with asyncio.timeout(CALL_S_MAX):
            return await channel(account.channel).send(
                sending.message, account.sending, correlation=sending.key, client=outbox.clients[account.channel]
            )
    except (ProviderRefused, ProviderUnclear) as error:
        log.warning("effect_not_sent", effect_id=sending.effect_id, error=error.message)
        return error
    except (NotFound, SettingInvalid) as error:
        return ProviderRefused(error.message, remedy="person", provider_code=error.code)
    except TimeoutError:
        return ProviderUnclear(f"the call did not end within {CALL_S_MAX:g} s: it may have been sent")
    except Exception as error:  # the edge of a send: a defect must not make a message leave twice
        log.exception("send_failed", effect_id=sending.effect_id)
        return ProviderUnclear(f"{type(error).__name__}: {error}: it may have been sent")


async def _write(outbox: Outbox, sending: Sending, outcome: SendReceipt | ProviderRefused | ProviderUnclear) -> bool:
    """Write the outcome, again and again while the database is away: nobody else knows it."""
    while True:
        try:
            async with tenant_tx(outbox.database, sending.tenant_id, commit="outbox.outcome") as connection:
                return await _write_once(connection, sending, outcome)
        except DatabaseUnavailable as error:
            log.warning("outcome_waits", effect_id=sending.effect_id, error=error.message)
            await asyncio.sleep(WRITE_RETRY_S)


async def _write_once(
    connection: Connection, sending: Sending, outcome: SendReceipt | ProviderRefused | ProviderUnclear
) -> bool:
    match outcome:
        case SendReceipt():
            return await write_sent(connection, sending, outcome.provider_message_id)
        case ProviderRefused():
            return await write_refused(connection, sending, outcome, jitter=random.random())  # noqa: S311  # no secret
        case ProviderUnclear():
            return await write_unclear(connection, sending, outcome)
