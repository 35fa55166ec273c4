"""One turn taken apart: the same functions that the processes call, one stage after another, each with its own CPU.

In one process, against an embedded PostgreSQL; the provider is a transport that answers at once. The CPU of a stage is
this process's and PostgreSQL's. Beside the graph stands the same graph on an in-memory saver: the difference is what
durability costs.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.runtime import RunControl

from bench.cpu import cpu_s
from bench.embedded_servers import Servers, embedded_servers
from bench.whatsapp_bodies import signed_text
from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from core.http import provider_client
from core.ids import AccountId, TenantId
from core.settings import DatabaseSettings, SecretSettings, load
from core.telemetry import new_trace_id
from db.pools import Database, open_database
from db.provision import create_tenant
from graphs.conversation import build_conversation_graph
from graphs.run import run_claimed
from graphs.run_claim import ClaimedRun, claim_runs
from graphs.run_start import Pins, RunStart, start_run
from graphs.runtime import RunRuntime
from graphs.state import graph_input
from inbox.accept import open_acceptor
from inbox.explode import explode_due
from inbox.split import split_due
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from outbox.begin import Sending
from outbox.deliver import Outbox, send, take_up_conversation
from prompts.loader import prompt_refs
from sandbox.demo.content import load_articles
from tools.context import RunContext
from tools.knowledge import search_knowledge

QUESTION = "Can I get a tax receipt for my donation?"
NUMBER = "106540352242922"
APP_SECRET = "bench"  # noqa: S105  # signs nothing outside this process
WARM_UP = 10

Each = Callable[[int], Awaitable[None]]


class Stages:
    """Runs a stage for every turn and keeps what it cost."""

    def __init__(self, count: int, postgres_pids: Sequence[int]) -> None:
        self.figures: dict[str, dict[str, float]] = {}
        self._count = count
        self._postgres = postgres_pids

    async def measure(self, name: str, each: Each) -> None:
        """Run `each` once per turn, after the warm-up turns, and note the milliseconds of one."""
        for number in range(WARM_UP):
            await each(number)
        database_before, cpu_before, began = cpu_s(self._postgres), time.process_time(), time.perf_counter()
        for number in range(WARM_UP, WARM_UP + self._count):
            await each(number)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_before
        database = cpu_s(self._postgres) - database_before
        self.figures[name] = {
            "wall_ms": round(wall * 1000 / self._count, 2),
            "cpu_ms": round(cpu * 1000 / self._count, 2),
            "postgres_cpu_ms": round(database * 1000 / self._count, 2),
        }


async def measure_stages(count: int) -> dict[str, Any]:  # Any: JSON
    """Put `count` turns through every stage; gives each stage's milliseconds per turn."""
    with embedded_servers() as servers:
        sealer = Sealer(load(SecretSettings).key())
        tenant_id = create_tenant(servers.admin_url, slug="bench", name="Bench")
        account_id = add_account(
            servers.admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id=NUMBER, name="Bench",
            secrets=Secrets(signing=(APP_SECRET.encode(),), access_token="bench"), debounce_ms=0,
        )  # fmt: skip
        database = await open_database(load(DatabaseSettings), application="bench")
        try:
            await publish_articles(database, tenant_id, _articles(), local_embedder())
            return await _stages(servers, database, sealer, tenant_id, account_id, count)
        finally:
            await database.close()


async def _stages(
    servers: Servers, database: Database, sealer: Sealer, tenant_id: TenantId, account_id: AccountId, count: int
) -> dict[str, Any]:  # Any: JSON
    stages = Stages(count, [servers.runner.pid])
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    turns: list[ClaimedRun] = []
    async with open_acceptor(database, sealer, ring=lambda: None) as acceptor:

        async def edge(number: int) -> None:
            body, _ = signed_text(QUESTION, sender=f"9195{number:08d}", phone_number_id=NUMBER, app_secret=APP_SECRET)
            await acceptor.accept(
                body, source_id=account_id, tenant_id=tenant_id, channel="whatsapp", verdict="signed",
                trace_id=new_trace_id(),
            )  # fmt: skip

        await stages.measure("edge", edge)

    async def split_and_explode(_: int) -> None:
        await split_due(database, sealer, limit=1)
        await explode_due(database, sealer, limit=1)

    async def claim(_: int) -> None:
        turns.extend(await claim_runs(database, worker="bench", limit=1))

    await stages.measure("split and explode", split_and_explode)
    await stages.measure("claim", claim)
    await _measure_graph(stages, runtime, turns)
    await _measure_outbox(stages, database, sealer, turns)
    total = sum(
        figure["cpu_ms"] + figure["postgres_cpu_ms"]
        for name, figure in stages.figures.items()
        if name not in ("recall and embedding alone", "graph on an in-memory saver")
    )
    return {**stages.figures, "cpu_ms_per_turn_in_all": round(total, 2)}


async def _measure_graph(stages: Stages, runtime: RunRuntime, turns: Sequence[ClaimedRun]) -> None:
    def context(turn: ClaimedRun) -> RunContext:
        return RunContext(
            database=runtime.database, tenant_id=turn.tenant_id, run_id=turn.run_id, fence=turn.fence,
            embedder=runtime.embedder, chat_model=runtime.chat_model,
        )  # fmt: skip

    async def recall(number: int) -> None:
        await search_knowledge(context(turns[number]), [QUESTION], language="en")

    in_memory = build_conversation_graph(InMemorySaver())

    async def graph_in_memory(number: int) -> None:
        turn = turns[number]
        given = await start_run(runtime.database, turn, runtime.pins)
        assert isinstance(given, RunStart)
        thread = {"configurable": {"thread_id": turn.conversation_id}, "metadata": {"run_id": turn.run_id}}
        async for _ in in_memory.astream(graph_input(given.values), thread, context=context(turn), durability="sync"):
            pass

    async def run(number: int) -> None:
        await run_claimed(runtime, turns[number], RunControl())

    await stages.measure("recall and embedding alone", recall)
    await stages.measure("graph on an in-memory saver", graph_in_memory)
    await stages.measure("turn: start, graph and checkpoints, commit", run)


async def _measure_outbox(stages: Stages, database: Database, sealer: Sealer, turns: Sequence[ClaimedRun]) -> None:
    async with provider_client("http://provider.example") as client:
        client._transport = httpx.MockTransport(_provider)  # noqa: SLF001  # the socket is the emulator's cost
        outbox = Outbox(database, sealer, {"whatsapp": client})

        async def deliver(number: int) -> None:
            sendings: list[Sending] = []
            turn = turns[number]
            await take_up_conversation(outbox, turn.tenant_id, turn.conversation_id, start=sendings.append)
            for sending in sendings:
                await send(outbox, sending)

        await stages.measure("outbox and send", deliver)


def _provider(request: httpx.Request) -> httpx.Response:
    answer = {"messaging_product": "whatsapp", "contacts": [], "messages": [{"id": f"wamid.{hash(request.content)}"}]}
    return httpx.Response(200, json=answer)


def _articles() -> list[Article]:
    return [
        Article(
            id=article.id, title=article.title, language=article.language, tags=article.tags,
            questions=article.questions, body=article.body, updated=article.updated,
        )
        for article in load_articles("asha")
    ]  # fmt: skip
