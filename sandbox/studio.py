"""What a person runs in LangGraph Studio: one question, answered by the conversation graph over real knowledge.

A graph's context is connections and models, which have no JSON form, so Studio cannot give it: here they are opened
within the run. It is a dry run: what the turn would have done stands in its state, under `effects`.
"""

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, cast

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

from core.errors import ChowkError
from core.ids import RunId, TenantId, new_id
from core.settings import DatabaseSettings, ModelSettings, StorageSettings, load
from db.pools import Database, open_database
from db.tenants import Tenant, list_tenants
from graphs.conversation import GRAPH_VERSION, conversation
from graphs.state import ConversationState, Update, graph_input, texts_of
from models.chat import build_chat_model
from models.embedder import local_embedder
from prompts.loader import prompt_refs
from sandbox.json_file import read_json
from sandbox.seed import MAIN
from tools.context import RunContext

DEMO_FILE = "demo.json"


class QuestionRefused(ChowkError, ValueError):
    """A question cannot be asked. Of an error that is no `ValueError` the dev server would tell only the name."""


class Question(TypedDict):
    """What a person writes. A second question on the same thread is asked in the same conversation."""

    text: str


class StudioState(ConversationState):
    """The state of the conversation graph, and the words it is made from."""

    text: str


@dataclass(frozen=True, slots=True)
class StudioContext:
    """Whose knowledge answers: the slug of an organisation."""

    organisation: str = MAIN


#: Any: LangGraph's own types of the input and the output of a graph.
QuestionGraph: TypeAlias = CompiledStateGraph[StudioState, StudioContext, Any, Any]


@cache
def question() -> QuestionGraph:
    """The factory that `langgraph.json` names: begin a turn as a worker would, then the conversation graph."""
    turn = conversation()

    # Studio finds the graph within by looking at what this function refers to.
    async def answer(state: StudioState) -> Update:
        async with _database() as database:
            context = RunContext(
                database=database,
                tenant_id=TenantId(state["tenant_id"]),
                run_id=RunId(state["run_id"]),
                fence=0,
                embedder=local_embedder(),
                chat_model=build_chat_model(load(ModelSettings)),
                dry_run=True,
            )
            return await turn.ainvoke(state, context=context)

    graph = StateGraph(StudioState, StudioContext, input_schema=Question, output_schema=ConversationState)
    graph.add_node("begin", begin)
    graph.add_node("conversation", answer)
    graph.add_edge(START, "begin")
    graph.add_edge("begin", "conversation")
    graph.add_edge("conversation", END)
    return cast("QuestionGraph", graph.compile(name="question"))


async def begin(state: StudioState, runtime: Runtime[StudioContext]) -> Update:
    """Make a turn of one message out of the words.

    Raises:
        QuestionRefused: there is no such organisation; or no stack runs here and DATABASE_URL is not set.
    """
    tenant = await _tenant((runtime.context or StudioContext()).organisation)
    run_id = new_id("run")
    values = {
        **dict.fromkeys(("run_id", "conversation_id", "contact_id", "account_id"), run_id),
        "tenant_id": tenant.id,
        "channel": "whatsapp",
        "graph_version": GRAPH_VERSION,
        "prompt_refs": prompt_refs(),
        "recipient": {"kind": "wa_id", "value": "15550100"},
        "owner": "agent",
        "profile": {"name": tenant.name} | tenant.settings.get("profile", {}),
        "trigger": [_message(state["text"])],
        "messages": _said(state),
        "summary": "",
        "waiting": [],
        "finished": [],
    }
    return graph_input(values)


def _message(text: str) -> dict[str, Any]:  # Any: JSON
    return {
        "message_id": new_id("msg"),
        "provider_message_id": None,
        "kind": "text",
        "text": text,
        "payload": None,
        "attachments": [],
        "provider_ts": None,
        "reply_to": None,
    }


def _said(state: Mapping[str, Any]) -> list[Any]:  # Any: the state of the thread's last question, if there was one
    """What was said on this thread so far."""
    if not state.get("trigger"):
        return []
    asked = [{"role": "user", "content": text} for text in texts_of(cast("ConversationState", state))]
    sent = [effect["message"]["text"] for effect in state.get("effects", []) if effect["kind"] == "send"]
    return [*state["messages"], *asked, *({"role": "assistant", "content": text} for text in sent)]


async def _tenant(slug: str) -> Tenant:
    async with _database() as database:
        tenants = {tenant.slug: tenant for tenant in await list_tenants(database)}
    if slug not in tenants:
        raise QuestionRefused(f"there is no organisation {slug!r}; there are: {', '.join(sorted(tenants)) or 'none'}")
    return tenants[slug]


@asynccontextmanager
async def _database() -> AsyncGenerator[Database, None]:
    """The database of DATABASE_URL, else that of the `chowk dev` whose home this is."""
    home = load(StorageSettings).home
    url = os.environ.get("DATABASE_URL") or read_json(home / DEMO_FILE).get("database_url")
    if not url:
        raise QuestionRefused(f"{home / DEMO_FILE} names no database; start `make run` first, or set DATABASE_URL")
    database = await open_database(DatabaseSettings.model_validate({"DATABASE_URL": url}), application="studio")
    try:
        yield database
    finally:
        await database.close()
