"""Killed at every commit of the product, in turn: the next process goes on, and the end is the same."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from core.crypto import Sealer
from core.ids import new_id
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from memory.publishing import publish_articles
from models.embedder import local_embedder
from rest.api_keys import create_api_key
from tests.builders import Organisation, an_organisation, rows
from tests.conftest import Stack
from tests.crash.commits import REPOSITORY, commits_in_the_code
from tests.crash.points import KILLED_IN, LOOKS, PASSED_ON, POINTS
from tests.crash.twenty_steps import STEPS
from tests.crash.world import Place
from tests.graphs.test_run import ARTICLES
from tests.outbox.provider_server import Received, a_provider

#: Everything that must be the same whether or not somebody died on the way; without ids and times.
END_STATE = {
    "messages": """SELECT direction, author, text, status, run_id IS NOT NULL AS by_run FROM messages m
        ORDER BY (SELECT min(text) FROM messages other WHERE other.conversation_id = m.conversation_id), sequence""",
    "owners": "SELECT owner, hand_off_reason FROM conversations ORDER BY 1, 2",
    "runs": """SELECT kind, graph, state, outcome, jsonb_array_length(interrupts) AS questions FROM core.runs
        ORDER BY 1, 2, 3, 4""",
    "steps": """SELECT r.graph, r.outcome, array_agg(s.namespace || ':' || s.node ORDER BY s.position) AS nodes,
          array_agg(s.position ORDER BY s.position) AS positions
        FROM core.run_steps s JOIN core.runs r ON r.id = s.run_id GROUP BY r.id, r.graph, r.outcome ORDER BY 1, 2, 3""",
    "commands": """SELECT DISTINCT kind, state,
          payload - '{run_id,thread_id,checkpoint_id,receipts_of,values}'::text[] AS payload
        FROM core.run_commands ORDER BY 1, 2""",
    "effects": """SELECT kind, state, payload->>'text' AS text, delivery FROM core.effects
        WHERE kind <> 'read_and_typing' ORDER BY 1, 2, 3""",
    "events": "SELECT kind, state FROM core.inbox_events ORDER BY 1, 2",
    "jobs": "SELECT DISTINCT kind, state FROM core.jobs ORDER BY 1, 2",
    "holds": "SELECT legal_hold_reason FROM conversations WHERE legal_hold_reason IS NOT NULL",
    "keys": "SELECT name FROM core.api_keys WHERE name = 'crash'",
}

STEPS_TAKEN = """
SELECT position, node, namespace, author, state_diff, error FROM core.run_steps WHERE run_id = %s ORDER BY position
"""

#: Steps of the second attempt.
RESUMED_AT = "SELECT node FROM core.run_steps WHERE run_id = %s AND attempt = 2 ORDER BY position"


class Zygote:
    """Walks journeys in processes that may die on the way."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def walk(self, journey: str, place: Place, *, fault: str = "") -> int:
        """Gives the wait status of whoever walked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"journey": journey, "place": asdict(place), "fault": fault}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def zygote(stack: Stack) -> Iterator[Zygote]:
    del stack  # its URLs stand in the environment
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def provider() -> Iterator[Received]:
    with a_provider() as received:
        yield received


async def a_place(stack: Stack, database: Database, sealer: Sealer, provider: Received) -> Place:
    organisation = an_organisation(stack.admin_url, sealer)
    await publish_articles(database, organisation.tenant_id, ARTICLES, local_embedder())
    return await the_place(stack, database, organisation, provider)


async def the_place(stack: Stack, database: Database, organisation: Organisation, provider: Received) -> Place:
    (tenant,) = await rows(database, organisation.tenant_id, "SELECT slug FROM core.tenants")
    async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
        key = await create_api_key(connection, tenant_id=organisation.tenant_id, name="test")
    return Place(
        organisation.tenant_id, organisation.account_id, organisation.phone_number_id, provider.url,
        slug=tenant["slug"], admin_url=stack.admin_url, api_key=key, run_id=new_id("run"),
    )  # fmt: skip


async def let_leases_end(database: Database, place: Place) -> None:
    past = "lease_until = clock_timestamp() - interval '1 s'"
    async with queue_tx(database, commit="test") as connection:
        for table in ("inbox", "inbox_events", "conversation_leases", "runs", "effects", "jobs"):
            statement = f"UPDATE core.{table} SET {past} WHERE tenant_id = %s AND lease_until > now()"
            await connection.execute(statement.encode(), (place.tenant_id,))


async def end_state(database: Database, place: Place, provider: Received) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: await rows(database, place.tenant_id, query)
        for name, query in END_STATE.items()  # pyright: ignore[reportArgumentType]  # a plain id
    }
    found["sent"] = sorted(body["text"]["body"] for body in provider.bodies if "text" in body)
    return found


_uninterrupted: dict[str, dict[str, Any]] = {}


@pytest.mark.parametrize(("journey", "point"), POINTS)
async def test_a_journey_ends_the_same_wherever_its_process_was_killed(
    database: Database, stack: Stack, sealer: Sealer, zygote: Zygote, provider: Received, journey: str, point: str
) -> None:
    if journey not in _uninterrupted:
        with a_provider() as other:
            place = await a_place(stack, database, sealer, other)
            assert zygote.walk(journey, place) == 0
            _uninterrupted[journey] = await end_state(database, place, other)
    place = await a_place(stack, database, sealer, provider)
    assert zygote.walk(journey, place, fault=point) == signal.SIGKILL, "the journey does not pass this point"
    await let_leases_end(database, place)
    assert zygote.walk(journey, place) == 0
    assert await end_state(database, place, provider) == _uninterrupted[journey]


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_run_of_twenty_steps_goes_on_at_the_step_at_which_it_was_killed(
    database: Database, stack: Stack, sealer: Sealer, zygote: Zygote, provider: Received, side: str
) -> None:
    organisation = an_organisation(stack.admin_url, sealer)
    place = await the_place(stack, database, organisation, provider)
    expected = None
    for killed_at in range(STEPS + 1):  # 0: not at all
        run = replace(place, run_id=new_id("run"))
        if killed_at:
            assert zygote.walk("twenty_steps", run, fault=f"act.{side}:{killed_at}") == signal.SIGKILL
            await let_leases_end(database, run)
        assert zygote.walk("twenty_steps", run) == 0
        found = await rows(database, organisation.tenant_id, STEPS_TAKEN, run.run_id)
        expected = expected or found
        assert found == expected
        resumed_at = [row["node"] for row in await rows(database, organisation.tenant_id, RESUMED_AT, run.run_id)]
        assert resumed_at[:1] == ([f"step_{killed_at}"] if killed_at else [])
        assert [act["step"] for act in provider.acts.values()] == list(range(1, STEPS + 1))
        provider.acts.clear()


def test_every_commit_of_the_product_is_on_a_journey_or_only_looks() -> None:
    passed = [commit for commits in PASSED_ON.values() for commit in commits]
    assert len(passed) == len(set(passed))
    assert not LOOKS & set(passed)
    assert commits_in_the_code() == LOOKS | set(passed) | KILLED_IN.keys()
    for commit, path in KILLED_IN.items():
        assert commit.partition(".")[0] in (REPOSITORY / path).read_text()
