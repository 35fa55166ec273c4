from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from core.ids import new_id
from db.provision import create_tenant
from sandbox.studio import QuestionRefused, StudioContext, question
from tests.conftest import Stack


async def test_a_second_question_on_a_thread_is_asked_in_the_same_conversation_and_queues_nothing(stack: Stack) -> None:
    slug = new_id("slug").replace("_", "-")
    tenant = create_tenant(stack.admin_url, slug=slug, name="A test tenant")
    graph = question().copy({"checkpointer": InMemorySaver()})
    thread: RunnableConfig = {"configurable": {"thread_id": "studio"}}
    first: Any = await graph.ainvoke({"text": "hello"}, thread, context=StudioContext(slug))
    (greeting,) = first["effects"]
    second: Any = await graph.ainvoke({"text": "What is the meaning of life?"}, thread, context=StudioContext(slug))
    assert second["tenant_id"] == tenant
    said = [(message.type, message.text) for message in second["messages"]]
    assert said == [("human", "hello"), ("ai", greeting["message"]["text"])]
    assert [effect["kind"] for effect in second["effects"]] == ["send", "hand_off"]


async def test_where_no_stack_runs_it_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("CHOWK_HOME", str(tmp_path))
    with pytest.raises(QuestionRefused, match="names no database; start `make run` first, or set DATABASE_URL"):
        await question().ainvoke({"text": "hello"})
