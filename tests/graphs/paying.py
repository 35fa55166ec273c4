"""A conversation whose agent pays by calls that act and then says so, in two versions; and a process that advances it.

`python -m tests.graphs.paying '{"tenant_id", "url", "stops"}'` takes this tenant's runs as far as they go under version
1. `CHOWK_FAULT` names where it is killed, or with `stops` where it is stopped, as SIGSTOP does, until SIGCONT.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, cast
from unittest.mock import patch

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl, Runtime

import graphs.registry
from channels.events import Identity
from channels.messages import OutboundText
from core.ids import TenantId
from core.settings import DatabaseSettings, load
from db.faults import fault
from db.pools import open_database
from graphs.conversation import ConversationGraph
from graphs.effects import SendEffect
from graphs.registry import RegisteredGraph
from graphs.run import run_claimed
from graphs.run_claim import claim_runs
from graphs.run_start import Pins
from graphs.runtime import RunRuntime
from graphs.state import ConversationState, Update
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from prompts.loader import prompt_refs
from tests.tools.acting_agent import AGENT, Forgetful, Gate, tools_at
from tools.context import AgentContext, RunContext
from tools.registry import tools_of

#: The nodes of each version, in order: `pay` makes three calls, the last one says what came of them.
NODES: Mapping[str, tuple[str, ...]] = {"1": ("pay", "say"), "2": ("look", "pay", "check", "tell")}


async def pay(url: str, _: ConversationState, runtime: Runtime[RunContext]) -> Update:
    table = tools_at(url)
    agent = create_agent(Forgetful(), tools_of(AGENT, table), middleware=[Gate(table)], context_schema=AgentContext)
    context = AgentContext(run=runtime.context, agent=AGENT, system="")
    outcome = await agent.ainvoke({"messages": [HumanMessage("go")]}, context=context)
    fault("agent.replied")
    answers = [said.artifact for said in outcome["messages"] if isinstance(said, ToolMessage) and said.artifact]
    return {"summary": ", ".join(f"{answer['reference']}: {answer['act']}" for answer in answers)}


def say(state: ConversationState) -> Update:
    message = OutboundText(to=Identity.model_validate(state["recipient"]), text=f"Paid {state['summary']}")
    effect = SendEffect(
        kind="send", slot="reply", message=message.model_dump(mode="json"), delivery="at_least_once", citations=[]
    )
    return {"effects": [effect]}


def nothing(_: ConversationState) -> Update:
    return {}


def paying(url: str, version: str) -> Mapping[str, RegisteredGraph]:
    """Every graph, with this one as the conversation's."""
    build = partial(_build, url, NODES[version])
    return {**graphs.registry.GRAPHS, "conversation": RegisteredGraph("conversation", version, build, {})}


def _build(url: str, nodes: tuple[str, ...], saver: BaseCheckpointSaver[Any] | None) -> ConversationGraph:
    graph = StateGraph(ConversationState, context_schema=RunContext)
    acts: Mapping[str, Any] = {"pay": partial(pay, url), "say": say, "tell": say}
    before = START
    for name in nodes:
        graph.add_node(name, acts.get(name, nothing))
        graph.add_edge(before, name)
        before = name
    return cast("ConversationGraph", graph.compile(checkpointer=saver, name="paying"))


async def advance(tenant_id: TenantId) -> None:
    database = await open_database(load(DatabaseSettings), application="paying")
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    while runs := await claim_runs(database, worker="paying", limit=10):
        for run in runs:
            if run.tenant_id == tenant_id:
                await run_claimed(runtime, run, RunControl())
    await database.close()


def main(order: dict[str, Any]) -> None:
    stops = patch("db.faults.signal.SIGKILL", signal.SIGSTOP) if order.get("stops") else nullcontext()
    with patch.object(graphs.registry, "GRAPHS", paying(order["url"], "1")), stops:
        asyncio.run(advance(TenantId(order["tenant_id"])))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
