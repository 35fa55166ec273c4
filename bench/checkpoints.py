"""What a conversation's checkpoints weigh after 10, 50 and 100 turns, and what keeping them small costs.

Beside it, on the same server and with the same texts, stands a stock graph of three nodes over `add_messages` with the
library's own saver, from which nothing is ever deleted. Weight is what the rows of the three tables hold, compressed as
the database stores them, without indexes. Ours are pruned by the jobs that the turns themselves schedule.

    python -m bench.checkpoints --turns 100
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from bench.conversation import Conversation, open_conversation
from bench.embedded_servers import embedded_servers
from bench.stock_thread import open_stock_thread
from checkpoints.retention import RUNS_KEPT, RUNS_SLACK, schedule_prune_if_due
from db.pools import Connection
from db.provision import create_tenant
from db.transactions import tenant_tx
from worker.runtime import open_runtime

#: All of them are answered from the demo's articles, in a few words or in many.
QUESTIONS = (
    "Can I get a tax receipt for my donation?",
    "What documents do I need for the scholarship?",
    "Where is your office in Pune?",
    "I want to volunteer on weekends, how do I join?",
    "Can I get a refund of a donation made by mistake?",
    "What is the minimum donation, and can I pay by UPI?",
    "My payment failed but the money was taken. What now?",
    "When is the next health camp and how do I register?",
    "How do I change or stop my monthly donation?",
    "Which ID do you accept, and what if my name differs on it?",
)
WEIGHED_AT = (10, 50, 100)
BYTES_AIM = 400_000
SCHEDULES = 300
#: Turns from one prune to the next.
PERIOD = RUNS_SLACK + 1

WEIGHT = """
SELECT (SELECT count(*) FROM checkpoints) AS checkpoints, (SELECT count(*) FROM checkpoint_blobs) AS blobs,
       (SELECT count(*) FROM checkpoint_writes) AS writes,
       (SELECT coalesce(sum(pg_column_size(c.*)), 0) FROM checkpoints c)
     + (SELECT coalesce(sum(pg_column_size(b.*)), 0) FROM checkpoint_blobs b)
     + (SELECT coalesce(sum(pg_column_size(w.*)), 0) FROM checkpoint_writes w) AS bytes
"""


async def weigh(connection: Connection) -> dict[str, int]:
    """The rows of the three tables in the schema that this connection sees, and the bytes that they hold."""
    row = await (await connection.execute(WEIGHT)).fetchone()
    assert row is not None
    return {name: int(value) for name, value in row.items()}


async def weigh_conversation(conversation: Conversation) -> dict[str, int]:
    """What all checkpoints of the conversation's tenant weigh."""
    async with tenant_tx(conversation.runtime.database, conversation.tenant_id, commit="bench") as connection:
        return await weigh(connection)


async def converse(conversation: Conversation, turns: int) -> list[dict[str, int]]:
    """Take this many turns; gives the weight after each, before and after what it left to jobs."""
    weights: list[dict[str, int]] = []
    for number in range(turns):
        await conversation.say(QUESTIONS[number % len(QUESTIONS)])
        before = await weigh_conversation(conversation)
        await conversation.run_jobs()
        weights.append(await weigh_conversation(conversation) | {"bytes_before_jobs": before["bytes"]})
    return weights


async def measure_ours(conversation: Conversation, turns: int) -> dict[str, Any]:  # Any: JSON
    """Our conversation's weight, and the time of its prunes and of asking for one."""
    weights = await converse(conversation, turns)
    unpruned = RUNS_KEPT + RUNS_SLACK
    bytes_max = max(weight["bytes_before_jobs"] for weight in weights)
    return _figures(weights) | {
        "bytes_max": bytes_max,
        "bytes_written_per_turn": weights[unpruned - 1]["bytes"] // unpruned if turns >= unpruned else None,
        "prune_ms": _times(conversation.prunes_ms),
        "schedule_ms": await _schedule_ms(conversation),
        "aims": {"bytes_max": {"aim": BYTES_AIM, "holds": bytes_max <= BYTES_AIM}},
    }


async def measure_stock(admin_url: str, transcript: Sequence[tuple[str, str]]) -> dict[str, Any]:  # Any: JSON
    """The weight of a stock thread that was given the same texts."""
    async with open_stock_thread(admin_url) as thread:
        weights: list[dict[str, int]] = []
        for text, answer in _pairs(transcript):
            await thread.turn(text, answer)
            weights.append(await weigh(thread.connection))
    return _figures(weights)


async def measure(admin_url: str, turns: int) -> dict[str, Any]:  # Any: JSON
    """Both, one after the other, on one server."""
    runtime = await open_runtime()
    try:
        tenant_id = create_tenant(admin_url, slug="bench", name="Bench")
        async with open_conversation(runtime, admin_url, tenant_id) as conversation:
            ours = await measure_ours(conversation, turns)
            stock = await measure_stock(admin_url, await conversation.transcript())
    finally:
        await runtime.close()
    return {"turns": turns, "ours": ours, "stock": stock}


def growth_of(weights: Sequence[dict[str, int]], first: int, last: int) -> int:
    """Bytes that each turn between the two added for good: what a prune will take away again is averaged out."""

    def level(turns: int) -> float:
        return statistics.mean(weight["bytes"] for weight in weights[max(turns - PERIOD, 0) : turns])

    return round((level(last) - level(first)) / (last - first))


def _figures(weights: Sequence[dict[str, int]]) -> dict[str, Any]:  # Any: JSON
    counts = [count for count in WEIGHED_AT if count <= len(weights)]
    names = ("bytes", "checkpoints", "blobs", "writes")
    after = {
        f"after_{count}": {name: weights[count - 1][name] for name in names}
        | {"bytes_per_turn": weights[count - 1]["bytes"] // count}
        for count in counts
    }
    growth = {
        f"bytes_per_turn_from_{first}_to_{last}": growth_of(weights, first, last) for first, last in pairwise(counts)
    }
    return after | growth


def _pairs(transcript: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each message of the person with the words of ours that follow it."""
    pairs: list[tuple[str, str]] = []
    for author, text in transcript:
        if author == "contact":
            pairs.append((text, ""))
        elif pairs:
            asked, answer = pairs[-1]
            pairs[-1] = (asked, f"{answer}\n{text}".strip())
    return pairs


async def _schedule_ms(conversation: Conversation) -> dict[str, float]:
    """What every turn pays for asking whether a prune is due, beside the bare round trip."""
    thread_id = await conversation.id()
    async with tenant_tx(conversation.runtime.database, conversation.tenant_id, commit="bench") as connection:

        async def ask() -> None:
            await schedule_prune_if_due(connection, thread_id)

        async def nothing() -> None:
            await connection.execute("SELECT 1 AS one WHERE %s::text IS NOT NULL", (thread_id,))

        found: dict[str, float] = {}
        for name, act in (("ask", ask), ("round_trip", nothing)):
            times: list[float] = []
            for _ in range(SCHEDULES):
                began = time.perf_counter()
                await act()
                times.append((time.perf_counter() - began) * 1000)
            found[name] = round(statistics.median(times), 3)
    return found


def _times(milliseconds: Sequence[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    return {
        "median": round(statistics.median(milliseconds), 1),
        "max": round(max(milliseconds), 1),
        "count": len(milliseconds),
    }


def main() -> None:
    """Measure on fresh servers and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=max(WEIGHED_AT))
    given = parser.parse_args()
    with embedded_servers() as servers:
        figures = asyncio.run(measure(servers.admin_url, given.turns))
    for name in ("ours", "stock"):
        print(f"{name}:", *(f"\n  {key}: {value}" for key, value in figures[name].items()))
    print(json.dumps({"bench": "checkpoints", **figures}))


if __name__ == "__main__":
    main()
