"""How long a message waits in the inbox behind another tenant's flood, and what the fair claim costs for it.

    python -m bench.fairness [--flood 10000] [--backlog 50000] [--claims 100] [--rounds 3]

fair   our claim: tenants take turns, and within a tenant its accounts
fifo   the peer: whatever came first, as most queues have it; the same worker with that claim, on indexes made for it

Two measurements in one run, each with both claims:
  - waits: `--flood` webhooks for one account of a tenant wait; then comes one message for another tenant, one for
    another account of the same tenant, and one for that very account, from somebody else. One process splits and
    explodes them as a worker does; the figure is the seconds until each message stands in its conversation,
  - claims: what a claimed event costs with nothing, 100 and `--backlog` events of ten tenants waiting, and `--backlog`
    of 1,000 tenants. Wall time is the claim's alone. Processor time (this process and PostgreSQL) is that of a claim
    and of ending its events, which is the same for both. With nothing waiting: per claim, not per event.
    Of `--rounds` rounds the least disturbed one counts.
Prints one JSON object last.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, Protocol

import psycopg

from bench.cpu import cpu_s, find_below
from bench.embedded_servers import Servers, embedded_servers
from bench.fifo_claim import fifo_events, fifo_inbox
from bench.whatsapp_bodies import signed_text
from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from core.ids import AccountId, TenantId, new_id
from core.settings import DatabaseSettings, SecretSettings, load
from db.pools import Database, open_database
from db.provision import create_tenant
from db.transactions import edge_tx, queue_tx, tenant_tx
from inbox.blobs import body_context
from inbox.claim import Row, claim_events
from inbox.explode import explode_due
from inbox.split import split_due

BATCH_ROWS: Final = 64
APP_SECRET: Final = "bench"  # noqa: S105  # signs nothing outside this process
#: How many people the flood comes from.
SENDERS: Final = 1_000
FIRST_SENDER: Final = "919500000000"
LATE_SENDER: Final = "918888888888"
#: Statements are prepared at the fifth time.
WARM_UP: Final = 10
LOOK_AGAIN_S: Final = 0.01
WAIT_S_MAX: Final = 1_800.0
#: How many events wait (None: `--backlog`), and of how many tenants.
BACKLOGS: Final = {
    "empty": (0, 1), "small": (100, 10), "long": (None, 10), "long_of_1000_tenants": (None, 1_000),
}  # fmt: skip

STORE = """
INSERT INTO core.inbox (source_id, tenant_id, channel, verdict, dedupe_key, body_bytes, body_sealed, body_wrapped_key)
VALUES (%s, %s, 'whatsapp', 'signed', %s, %s, %s, %s)
"""
STANDS = "SELECT FROM contact_identities WHERE account_id = %s AND kind = 'wa_id' AND value = %s"
EMPTY = "TRUNCATE core.inbox, core.inbox_events CASCADE"
A_BODY = """
INSERT INTO core.inbox (source_id, channel, verdict, dedupe_key, body_bytes, state)
VALUES ('bench', 'whatsapp', 'signed', 'bench', 1, 'done')
"""
EVENTS = """
INSERT INTO core.inbox_events (inbox_id, position, tenant_id, account_id, event_key, kind, event_sealed,
                               event_wrapped_key, received_at)
SELECT i.id, n, 't_' || lpad((n %% %(tenants)s)::text, 26, '0'), 'acc_' || lpad((n %% %(tenants)s)::text, 26, '0'),
       'message:' || n, 'message_received', decode(repeat('00', 600), 'hex'), decode(repeat('00', 60), 'hex'), now()
FROM core.inbox i, generate_series(1, %(count)s) n
"""
END = """
UPDATE core.inbox_events SET state = %(state)s, lease_until = NULL, attempts = 0 WHERE id = ANY(%(ids)s::bigint[])
"""


class Claim(Protocol):
    """Claims events."""

    def __call__(self, database: Database, *, limit: int) -> Awaitable[list[Row]]:
        """Claim up to `limit` events."""
        ...


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured on."""

    servers: Servers
    database: Database
    sealer: Sealer


@dataclass(frozen=True, slots=True)
class Number:
    """One WhatsApp account."""

    tenant_id: TenantId
    account_id: AccountId
    phone_number_id: str


def a_tenant(bench: Bench) -> TenantId:
    """A tenant of its own."""
    return create_tenant(bench.servers.admin_url, slug=new_id("bench").replace("_", "-"), name="Bench")


def a_number(bench: Bench, tenant_id: TenantId) -> Number:
    """An account of this tenant."""
    phone_number_id = str(time.time_ns())
    account_id = add_account(
        bench.servers.admin_url, bench.sealer, tenant_id=tenant_id, channel="whatsapp", external_id=phone_number_id,
        name="Bench", secrets=Secrets(signing=(APP_SECRET.encode(),), access_token="bench"),
    )  # fmt: skip
    return Number(tenant_id, account_id, phone_number_id)


async def receive(bench: Bench, number: Number, senders: Sequence[str]) -> None:
    """Store one webhook of each sender, as the edge does."""
    values: list[tuple[object, ...]] = []
    for sender in senders:
        body, _ = signed_text(
            "My question", sender=sender, phone_number_id=number.phone_number_id, app_secret=APP_SECRET
        )
        sealed = bench.sealer.seal(body, context=body_context(number.account_id))
        values.append(
            (number.account_id, number.tenant_id, hashlib.sha256(body).digest(), len(body), sealed.ciphertext,
             sealed.wrapped_key)
        )  # fmt: skip
    async with edge_tx(bench.database, commit="bench.receive") as connection, connection.cursor() as cursor:
        await cursor.executemany(STORE, values)


async def drive(stage: Callable[..., Awaitable[int]], bench: Bench) -> None:
    """One stage of a worker: after a full round the next one at once, else soon."""
    while True:
        if await stage(bench.database, bench.sealer, limit=BATCH_ROWS) < BATCH_ROWS:
            await asyncio.sleep(LOOK_AGAIN_S)


async def stands(bench: Bench, number: Number, sender: str) -> float:
    """Return once this sender's first message is written; gives the moment, by `time.perf_counter`."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            async with tenant_tx(bench.database, number.tenant_id, commit="bench.stands") as connection:
                found = await (await connection.execute(STANDS, (number.account_id, sender))).fetchone()
            if found is not None:
                return time.perf_counter()
            await asyncio.sleep(LOOK_AGAIN_S)


async def measure_waits(bench: Bench, *, flood: int) -> dict[str, float]:
    """Seconds until the messages that came behind the flood are written."""
    with psycopg.connect(bench.servers.admin_url, autocommit=True) as admin:
        admin.execute(EMPTY)
    flooding, small = a_tenant(bench), a_tenant(bench)
    flooded = a_number(bench, flooding)
    late = {
        "other_tenant_s": a_number(bench, small),
        "other_account_s": a_number(bench, flooding),
        "same_account_s": flooded,
    }
    await receive(bench, flooded, [f"9195{n % SENDERS:08d}" for n in range(flood)])
    stages = [asyncio.create_task(drive(stage, bench)) for stage in (split_due, explode_due)]
    # The worker is in the midst of it when they come.
    await stands(bench, flooded, FIRST_SENDER)
    began = time.perf_counter()
    for number in late.values():
        await receive(bench, number, [LATE_SENDER])
    ends = await asyncio.gather(*(stands(bench, number, LATE_SENDER) for number in late.values()))
    for stage in stages:
        stage.cancel()
    await asyncio.gather(*stages, return_exceptions=True)
    return {name: round(end - began, 3) for name, end in zip(late, ends, strict=True)}


async def measure_claims(bench: Bench, claim: Claim, *, waiting: int, tenants: int, claims: int) -> dict[str, float]:
    """Microseconds per claimed event, or per claim where none waits. Few are put back, so that as many always wait."""
    with psycopg.connect(bench.servers.admin_url, autocommit=True) as admin:
        admin.execute(EMPTY)
        for _ in range(WARM_UP):
            await claim(bench.database, limit=BATCH_ROWS)
        admin.execute(A_BODY)
        admin.execute(EVENTS, {"count": waiting, "tenants": tenants})
    state = "done" if waiting > claims * BATCH_ROWS else "new"
    postgres = [find_below(bench.servers.runner.pid, "postgres")]
    walls: list[float] = []
    events = 0
    cpu_before = cpu_s(postgres) + time.process_time()
    for _ in range(claims):
        began = time.perf_counter()
        claimed = await claim(bench.database, limit=BATCH_ROWS)
        walls.append((time.perf_counter() - began) / max(len(claimed), 1))
        events += len(claimed)
        async with queue_tx(bench.database, commit="bench.done") as connection:
            await connection.execute(END, {"ids": [row["id"] for row in claimed], "state": state})
    cpu = cpu_s(postgres) + time.process_time() - cpu_before
    return {"wall_us": statistics.median(walls) * 1e6, "cpu_us": cpu / (events or claims) * 1e6}


async def measure(bench: Bench, asked: Any) -> dict[str, Any]:
    """Both measurements, with both claims."""
    claims: dict[str, Any] = {name: {"fair": [], "fifo": []} for name in BACKLOGS}
    waits: dict[str, Any] = {}
    for _ in range(asked.rounds):
        for variant, claim, inbox in (("fair", claim_events, nullcontext()), ("fifo", fifo_events, None)):
            with inbox or fifo_inbox(bench.servers.admin_url):
                for name, (waiting, tenants) in BACKLOGS.items():
                    count = asked.backlog if waiting is None else waiting
                    claims[name][variant].append(
                        await measure_claims(bench, claim, waiting=count, tenants=tenants, claims=asked.claims)
                    )
    waits["fair"] = await measure_waits(bench, flood=asked.flood)
    with fifo_inbox(bench.servers.admin_url):
        waits["fifo"] = await measure_waits(bench, flood=asked.flood)
    return {"waits": waits, "claims": claims}


def report(found: dict[str, Any], *, asked: Any) -> dict[str, Any]:
    """The figures of the least disturbed rounds, and how the waits compare."""
    claims = {
        name: {
            variant: {figure: round(min(one[figure] for one in rounds), 1) for figure in ("wall_us", "cpu_us")}
            for variant, rounds in variants.items()
        }
        for name, variants in found["claims"].items()
    }
    fair, fifo = found["waits"]["fair"], found["waits"]["fifo"]
    return {
        "bench": "fairness",
        "flood": asked.flood,
        "backlog": asked.backlog,
        "rounds": asked.rounds,
        "waits": found["waits"],
        "fifo_times_fair": {name: round(fifo[name] / fair[name], 1) for name in fair},
        "claims": claims,
    }


async def run(asked: Any) -> dict[str, Any]:
    """Everything, on embedded servers."""
    with embedded_servers() as servers:
        database = await open_database(load(DatabaseSettings), application="bench")
        try:
            bench = Bench(servers, database, Sealer(load(SecretSettings).key()))
            return report(await measure(bench, asked), asked=asked)
        finally:
            await database.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description="Waiting behind a flood")
    parser.add_argument("--flood", type=int, default=10_000)
    parser.add_argument("--backlog", type=int, default=50_000)
    parser.add_argument("--claims", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
