"""A ready tool of LangGraph's own, which takes a graph of ours for one that runs beside it."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command

from tests.api.agent.conftest import REPLY, Tool


def remote(tool: Tool, graph: str) -> RemoteGraph:
    return RemoteGraph(graph, url=f"{tool.server.url}/agent", headers=tool.headers, client=tool.client)


async def test_a_remote_graph_shows_its_state_and_history_and_takes_an_answer(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    graph = remote(tool, "hand_off")
    config: RunnableConfig = {"configurable": {"thread_id": waiting.thread_id}}
    state = await graph.aget_state(config)
    assert state.next == ("wait",)
    assert state.interrupts[0].value["asks"] == "person"
    history = [snapshot async for snapshot in graph.aget_state_history(config)]
    assert [snapshot.next for snapshot in history] == [("wait",), ("__start__",)]
    async with tool.working():
        final: Any = await graph.ainvoke(Command(resume=REPLY), state.config)
    assert final["answer"] == REPLY
    assert (await tool.scene.sent())[-1]["text"] == REPLY["text"]


async def test_a_remote_graph_is_drawn_and_forked(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    graph = remote(tool, "conversation")
    assert {"recall", "triage", "reply", "guard", "emit"} <= set((await graph.aget_graph()).nodes)
    config: RunnableConfig = {"configurable": {"thread_id": turn.thread_id}}
    (before_guard,) = [one async for one in graph.aget_state_history(config) if one.next == ("guard",)]
    forked: Any = await graph.aupdate_state(before_guard.config, {})
    await tool.scene.advance()
    assert (await graph.aget_state({"configurable": forked["configurable"]})).next == ()
    assert await tool.scene.nodes(forked["configurable"]["thread_id"]) == ["guard", "emit"]
