"""A graph of twenty steps, each of which makes one call that acts on the world."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import httpx
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from pydantic import JsonValue

import graphs.registry
from db.faults import fault
from db.transactions import tenant_tx
from graphs.conversation import ConversationGraph
from graphs.registry import RegisteredGraph
from graphs.state import ConversationState, TrailEntry, Update
from tests.crash.world import World
from tools.context import RunContext
from tools.receipts import call_key, call_once

STEPS = 20
NAME = "twenty_steps"

REQUEST = """
WITH somebody AS (
  INSERT INTO contacts (id, name) VALUES (%(id)s, 'Somebody') ON CONFLICT DO NOTHING RETURNING id
), conversation AS (
  INSERT INTO conversations (id, account_id, contact_id, channel, recipient)
  SELECT %(id)s, %(account_id)s, id, 'whatsapp', '{"kind": "wa_id", "value": "919800000003"}' FROM somebody RETURNING id
), lease AS (
  INSERT INTO core.conversation_leases (conversation_id, tenant_id) SELECT id, current_user FROM conversation
)
INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, input)
SELECT %(id)s, current_user, id, %(graph)s, %(graph)s, %(id)s, 'queued', '{}' FROM conversation
RETURNING id
"""


async def _step(number: int, url: str, state: ConversationState, runtime: Runtime[RunContext]) -> Update:
    context = runtime.context

    async def act(key: str) -> JsonValue:
        fault("act.before")
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{url}/act", json={"step": number}, headers={"idempotency-key": key})
        fault("act.after")
        return cast("JsonValue", answer.json())

    key = call_key(context.tenant_id, context.run_id, path=f"step_{number}", step=number, index=0)
    answer = await call_once(context, key=key, tool="act", request={"step": number}, call=act)
    return {"trail": [_entry(number, str(answer))], "summary": f"{state.get('summary', '')} {number}".strip()}


def _entry(number: int, why: str) -> TrailEntry:
    report = {"prompt_ref": None, "engine": None, "tokens_in": 0, "tokens_out": 0, "tool_calls": ["act"], "why": why}
    return cast(
        "TrailEntry",
        {"node": f"step_{number}", "author": "code", "wrote": ["summary"], "memory_hits": [], "report": report},
    )


def build(url: str, saver: BaseCheckpointSaver[Any] | None) -> ConversationGraph:
    graph = StateGraph(ConversationState, context_schema=RunContext)
    before = START
    for number in range(1, STEPS + 1):
        node: Callable[..., Awaitable[Update]] = partial(_step, number, url)
        graph.add_node(f"step_{number}", node)  # pyright: ignore[reportArgumentType, reportCallIssue]  # a partial of a node
        graph.add_edge(before, f"step_{number}")
        before = f"step_{number}"
    return cast("ConversationGraph", graph.compile(checkpointer=saver, name=NAME))


async def twenty_steps(world: World) -> None:
    """Ask for the run once, and let it run to its end."""
    made = RegisteredGraph(NAME, "1", partial(build, world.place.provider_url), {})
    graphs.registry.GRAPHS = graphs.registry.GRAPHS | {NAME: made}  # pyright: ignore[reportOperatorIssue]  # a proxy joins
    keys = {"id": world.place.run_id, "account_id": world.account_id, "graph": NAME}
    async with tenant_tx(world.database, world.tenant_id, commit="test") as connection:
        await connection.execute(REQUEST, keys)
    await world.work()
