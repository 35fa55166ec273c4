"""What one step of a graph costs where every step is durable: a graph of 20 nodes that do nothing, run to its end.

  - ours: the saver that a run has in the product, which with each checkpoint commits the record of the step and asks
    whether the run is still held; one saver per run,
  - stock: LangGraph's own saver for PostgreSQL, one for the whole process, as its manual has it; it keeps no record,
  - stock, own: the same with a saver per run,
  - memory: LangGraph's in-memory saver, which is the graph alone.

All stream the same, with `durability="sync"`, in one process on uvloop, over at most eight connections each to the same
embedded PostgreSQL, fsync on. Rounds of the sides alternate; a figure is the median of its rounds, beside it the round
that was disturbed least.

    python -m bench.steps --rounds 9 --runs 10 --concurrent-rounds 5
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import uvloop
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool
from typing_extensions import TypedDict

from bench.cpu import cpu_s
from bench.embedded_servers import Servers, embedded_servers
from checkpoints.saver import Hold, Journal, run_saver
from core.clock import utc_now
from core.ids import RunId, TenantId, new_id
from core.settings import DatabaseSettings, load
from db.pools import Database, open_database
from db.provision import create_tenant
from graphs.steps import StepRecorder
from models.prices import FREE

NODES = 20
AT_ONCE = 16
#: Of each of those, one after the other, in a round.
RUNS_AT_ONCE = 3
#: Of each side that has a pool.
CONNECTIONS_MAX = 8
WARM_UP_RUNS = 3

LEASE = "INSERT INTO core.conversation_leases (conversation_id, tenant_id, fence) VALUES (%s, %s, 1)"

#: Runs the graph once, as the run in this place among those at work at once.
Run: TypeAlias = Callable[[int], Awaitable[None]]


class Counted(TypedDict):
    """A state with a plain value and one that is serialised."""

    count: int
    said: dict[str, str]


#: Any: LangGraph's own types of the context, the input and the output of a graph.
Counting: TypeAlias = CompiledStateGraph[Counted, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Round:
    """What a step cost in one round, in milliseconds."""

    wall_ms: float
    cpu_ms: float
    postgres_cpu_ms: float


@dataclass(slots=True)
class Side:
    """One way to keep checkpoints, and what was measured of it."""

    run: Run
    alone: list[Round] = field(default_factory=list[Round])
    at_once: list[Round] = field(default_factory=list[Round])

    async def measure(self, runs: int, *, at_once: int, postgres_pid: int) -> Round:
        """Do so many runs in each of `at_once` places at the same time."""

        async def in_place(place: int) -> None:
            for _ in range(runs):
                await self.run(place)

        database_before, cpu_before, began = cpu_s([postgres_pid]), time.process_time(), time.perf_counter()
        await asyncio.gather(*(in_place(place) for place in range(at_once)))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_before
        per_step = 1000 / (runs * at_once * NODES)
        return Round(wall * per_step, cpu * per_step, (cpu_s([postgres_pid]) - database_before) * per_step)


async def measure(servers: Servers, *, rounds: int, runs: int, concurrent_rounds: int) -> dict[str, Any]:  # Any: JSON
    """All sides, in turns."""
    async with _sides(servers) as sides:
        for side in sides.values():
            await side.measure(WARM_UP_RUNS, at_once=1, postgres_pid=servers.runner.pid)
        for number in range(max(rounds, concurrent_rounds)):
            for side in sides.values() if number < rounds else ():
                side.alone.append(await side.measure(runs, at_once=1, postgres_pid=servers.runner.pid))
            for side in sides.values() if number < concurrent_rounds else ():
                side.at_once.append(await side.measure(RUNS_AT_ONCE, at_once=AT_ONCE, postgres_pid=servers.runner.pid))
    return {name: _figures(side) for name, side in sides.items()}


def _figures(side: Side) -> dict[str, float]:
    def median(name: str, of: list[Round]) -> float:
        return round(statistics.median(getattr(one, name) for one in of), 2)

    return {
        "ms_per_step": median("wall_ms", side.alone),
        "ms_per_step_least": round(min(one.wall_ms for one in side.alone), 2),
        "cpu_ms_per_step": median("cpu_ms", side.alone),
        "postgres_cpu_ms_per_step": median("postgres_cpu_ms", side.alone),
        f"steps_per_s_at_{AT_ONCE}": round(1000 / statistics.median(one.wall_ms for one in side.at_once)),
        f"steps_per_s_at_{AT_ONCE}_least_disturbed": round(1000 / min(one.wall_ms for one in side.at_once)),
        f"cpu_ms_per_step_at_{AT_ONCE}": median("cpu_ms", side.at_once),
        f"postgres_cpu_ms_per_step_at_{AT_ONCE}": median("postgres_cpu_ms", side.at_once),
    }


@asynccontextmanager
async def _sides(servers: Servers) -> AsyncGenerator[Mapping[str, Side], None]:
    tenant_id = create_tenant(servers.admin_url, slug="bench", name="Bench")
    database = await open_database(load(DatabaseSettings), application="bench")
    try:
        async with _stock_pool(servers.admin_url) as pool:
            shared, memory = AsyncPostgresSaver(pool), InMemorySaver()
            await shared.setup()
            yield {
                "memory": Side(_plain(lambda: memory)),
                "stock": Side(_plain(lambda: shared)),
                "stock_own": Side(_plain(lambda: AsyncPostgresSaver(pool))),
                "ours": Side(_ours(database, tenant_id, await _leases(servers.admin_url, tenant_id))),
            }
    finally:
        await database.close()


@asynccontextmanager
async def _stock_pool(admin_url: str) -> AsyncGenerator[AsyncConnectionPool[AsyncConnection[DictRow]], None]:
    async with await AsyncConnection.connect(admin_url, autocommit=True) as admin:
        await admin.execute("CREATE SCHEMA stock")
    keywords = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0, "options": "-c search_path=stock"}
    pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
        admin_url, kwargs=keywords, min_size=1, max_size=CONNECTIONS_MAX, open=False
    )
    async with pool:
        yield pool


def _plain(saver: Callable[[], BaseCheckpointSaver[Any]]) -> Run:
    graph = _graph()

    async def run(_place: int) -> None:
        async for _ in _stream(graph, saver(), thread_id=new_id("run")):
            pass

    return run


async def _leases(admin_url: str, tenant_id: TenantId) -> list[str]:
    """A lease that is held under fence 1 for each run at work."""
    leases = [new_id("conv") for _ in range(AT_ONCE)]
    async with await AsyncConnection.connect(admin_url, autocommit=True) as admin:
        for lease_id in leases:
            await admin.execute(LEASE, (lease_id, tenant_id))
    return leases


def _ours(database: Database, tenant_id: TenantId, leases: Sequence[str]) -> Run:
    graph = _graph()

    async def run(place: int) -> None:
        run_id, journal = RunId(new_id("run")), Journal()
        recorder = StepRecorder(utc_now, {}, FREE, 1, 0, journal=journal)
        saver = run_saver(database, tenant_id, Hold(run_id, leases[place], fence=1), journal)
        async for namespace, mode, chunk in _stream(graph, saver, thread_id=run_id):
            if mode == "updates":
                recorder.update(namespace, chunk)
            elif mode == "tasks":
                recorder.task(namespace, chunk)

    return run


def _stream(graph: Counting, saver: BaseCheckpointSaver[Any], *, thread_id: str) -> AsyncIterator[Any]:  # Any: chunks
    return graph.copy({"checkpointer": saver}).astream(
        {"count": 0, "said": {}},
        {"configurable": {"thread_id": thread_id}, "metadata": {"run_id": thread_id}, "recursion_limit": NODES + 1},
        stream_mode=["updates", "values", "tasks"],
        subgraphs=True,
        durability="sync",
    )


def _graph() -> Counting:
    graph = StateGraph(Counted)
    before = START
    for number in range(NODES):
        name = f"node_{number}"
        graph.add_node(name, _node(name))
        graph.add_edge(before, name)
        before = name
    return cast("Counting", graph.compile(name="counting"))


def _node(name: str) -> Any:  # Any: LangGraph's own union of what may be a node
    async def node(state: Counted) -> Counted:
        return Counted(count=state["count"] + 1, said={"node": name})

    return node


def main() -> None:
    """Measure on an embedded PostgreSQL and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=10, help="in a round, one after the other")
    parser.add_argument("--concurrent-rounds", type=int, default=5)
    given = parser.parse_args()
    with embedded_servers() as servers:
        figures = uvloop.run(
            measure(servers, rounds=given.rounds, runs=given.runs, concurrent_rounds=given.concurrent_rounds)
        )
    for name, values in figures.items():
        print(f"{name}:", *(f"\n  {key}: {value}" for key, value in values.items()))
    print(json.dumps({"bench": "steps", **figures}))


if __name__ == "__main__":
    main()
