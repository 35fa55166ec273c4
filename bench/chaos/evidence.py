"""What there is when all has come to rest: rows of the database, straight from the server, and the provider's log."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import psycopg
from psycopg.rows import dict_row

CONNECT_S = 5
PAGE = 1000
Row: TypeAlias = dict[str, Any]  # Any: a database row

QUEUE_ROLE = "chowk_queue"
BODIES = "SELECT dedupe_key, state FROM core.inbox"
EVENTS = "SELECT event_key, state, error FROM core.inbox_events"
MESSAGES = """
SELECT id, conversation_id, direction, author, text, provider_message_id, status, edited, deleted, run_id, effect_key
FROM messages
"""
RUNS = """
SELECT id, parent_id, conversation_id, kind, state, outcome, attempts, error,
  ARRAY(SELECT jsonb_array_elements(input->'trigger')->>'message_id') AS trigger
FROM core.runs
"""
STEPS = "SELECT run_id, position, node, namespace, error FROM core.run_steps ORDER BY run_id, position"
EFFECTS = "SELECT key, kind, state, run_id, conversation_id, resends, error FROM core.effects"
CONVERSATIONS = "SELECT id, owner, recipient->>'value' AS sender FROM conversations"
STATUSES = "SELECT provider_message_id, status FROM message_statuses"
CALLS = "SELECT key, state FROM core.call_receipts"
DEAD_JOBS = "SELECT id, kind, error FROM core.jobs WHERE state = 'dead'"

#: What must be zero before the end can be judged.
WORK_OF_QUEUES = """
SELECT (SELECT count(*) FROM core.inbox WHERE state IN ('new', 'split')) AS bodies,
       (SELECT count(*) FROM core.inbox_events WHERE state = 'new') AS events
"""
WORK_OF_TENANT = """
SELECT (SELECT count(*) FROM core.runs WHERE state IN ('queued', 'running')) AS runs,
       (SELECT count(*) FROM core.effects WHERE state IN ('queued', 'sending', 'unknown')) AS effects
"""


@dataclass(frozen=True, slots=True)
class Send:
    """One message that the provider took."""

    key: str
    to: str
    provider_message_id: str
    #: Monotonic seconds.
    at: float


@dataclass(slots=True)
class Evidence:
    """Everything that is judged."""

    #: States of the rows of each body, by the SHA-256 of its bytes.
    bodies: dict[bytes, list[str]] = field(default_factory=dict[bytes, list[str]])
    #: Rows of each event, by its key.
    events: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    messages: list[Row] = field(default_factory=list[Row])
    runs: list[Row] = field(default_factory=list[Row])
    #: Steps of each run, in order.
    steps: dict[str, list[Row]] = field(default_factory=dict[str, list[Row]])
    effects: list[Row] = field(default_factory=list[Row])
    conversations: list[Row] = field(default_factory=list[Row])
    statuses: list[Row] = field(default_factory=list[Row])
    calls: list[Row] = field(default_factory=list[Row])
    dead_jobs: list[Row] = field(default_factory=list[Row])
    sends: list[Send] = field(default_factory=list[Send])


async def work_left(database_url: str, tenants: Sequence[str]) -> dict[str, int]:
    """How much is still to be done, by kind; kinds with nothing left are absent.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """
    left: dict[str, int] = defaultdict(int)
    async with _connected(database_url) as connection:
        for role, query in ((QUEUE_ROLE, WORK_OF_QUEUES), *((tenant, WORK_OF_TENANT) for tenant in tenants)):
            for row in await _rows(connection, role, query):
                for kind, count in row.items():
                    left[kind] += count
    return {kind: count for kind, count in left.items() if count}


async def read_evidence(database_url: str, tenants: Sequence[str], emulator_url: str) -> Evidence:
    """Read all of it."""
    evidence = Evidence(bodies=defaultdict(list), events=defaultdict(list), steps=defaultdict(list))
    async with _connected(database_url) as connection:
        for row in await _rows(connection, QUEUE_ROLE, BODIES):
            evidence.bodies[bytes(row["dedupe_key"])].append(row["state"])
        for row in await _rows(connection, QUEUE_ROLE, EVENTS):
            evidence.events[row["event_key"]].append(row)
        for tenant in tenants:
            evidence.messages += await _rows(connection, tenant, MESSAGES)
            evidence.runs += await _rows(connection, tenant, RUNS)
            evidence.effects += await _rows(connection, tenant, EFFECTS)
            evidence.conversations += await _rows(connection, tenant, CONVERSATIONS)
            evidence.statuses += await _rows(connection, tenant, STATUSES)
            evidence.calls += await _rows(connection, tenant, CALLS)
            evidence.dead_jobs += await _rows(connection, tenant, DEAD_JOBS)
            for row in await _rows(connection, tenant, STEPS):
                evidence.steps[row["run_id"]].append(row)
    evidence.sends = await _sends(emulator_url)
    return evidence


@asynccontextmanager
async def _connected(database_url: str) -> AsyncGenerator[psycopg.AsyncConnection[Row], None]:
    async with await psycopg.AsyncConnection[Row].connect(
        database_url, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_S
    ) as connection:
        yield connection


async def _rows(connection: psycopg.AsyncConnection[Row], role: str, query: str) -> list[Row]:
    """What a role sees: a tenant its own schema and rows, the queue role the queues of all."""
    become = f'RESET ROLE; SET ROLE "{role}"; SET search_path TO "{role}", public'
    await connection.execute(become.encode(), prepare=False)
    return await (await connection.execute(query.encode())).fetchall()


async def _sends(emulator_url: str) -> list[Send]:
    sends: list[Send] = []
    after = 0
    async with httpx.AsyncClient(base_url=emulator_url, timeout=30) as client:
        while True:
            page = (await client.get("/sandbox/sent", params={"after": after, "limit": PAGE})).json()["items"]
            if not page:
                return sends
            sends += [
                Send(one["correlation"], one["to"], one["id"], one["accepted_monotonic_ns"] / 1e9) for one in page
            ]
            after = page[-1]["number"]
