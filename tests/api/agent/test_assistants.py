"""The graphs, as assistants that a tool may look at."""

import pytest
from langgraph_sdk.errors import APIStatusError, NotFoundError

from api.agent.shapes import assistant_id_of
from graphs.registry import GRAPHS
from tests.api.agent.conftest import Tool


def test_an_assistant_has_the_id_that_every_server_of_the_protocol_gives_its_graph() -> None:
    assert assistant_id_of("agent") == "fe096781-5601-53d2-b2f6-0d3403f7e9ca"


async def test_every_graph_is_an_assistant_by_its_name_and_by_its_id(tool: Tool) -> None:
    found = await tool.client.assistants.search()
    assert [one["graph_id"] for one in found] == sorted(GRAPHS)
    assert await tool.client.assistants.count() == len(GRAPHS)
    for one in found:
        assert one["assistant_id"] == assistant_id_of(one["graph_id"])
        assert (one["name"], str(one["version"])) == (one["graph_id"], GRAPHS[one["graph_id"]].version)
        for name in (one["graph_id"], one["assistant_id"]):
            assert await tool.client.assistants.get(name) == one
            assert await tool.client.assistants.get_versions(name) == [one]


async def test_assistants_are_found_by_graph_name_and_metadata_page_by_page(tool: Tool) -> None:
    assistants = tool.client.assistants
    assert [one["name"] for one in await assistants.search(graph_id="hand_off")] == ["hand_off"]
    assert [one["name"] for one in await assistants.search(name="Conversa")] == ["conversation"]
    assert await assistants.count(metadata={"created_by": "system"}) == len(GRAPHS)
    assert await assistants.search(metadata={"created_by": "somebody"}) == []
    page = await assistants.search(limit=1, sort_by="name", sort_order="desc", response_format="object")
    assert ([one["name"] for one in page["assistants"]], page["next"]) == (["hand_off"], "1")
    last = await assistants.search(limit=1, offset=1, sort_order="desc", select=["name"], response_format="object")
    assert last == {"assistants": [{"name": "conversation"}], "next": None}


async def test_a_graph_is_drawn_and_its_state_described(tool: Tool) -> None:
    drawn = await tool.client.assistants.get_graph("hand_off", xray=True)
    assert [node["id"] for node in drawn["nodes"]] == ["__start__", "wait", "settle", "__end__"]
    assert {"source": "wait", "target": "settle"} in drawn["edges"]
    schemas = await tool.client.assistants.get_schemas("conversation")
    assert schemas["graph_id"] == "conversation"
    assert {"trigger", "decision", "effects"} <= set(schemas["state_schema"]["properties"])
    assert set(schemas["context_schema"]["properties"]) == {"dry_run", "prompts"}
    assert await tool.client.assistants.get_subgraphs("conversation", recurse=True) == {}
    assert await tool.client.assistants.get_subgraphs("conversation", "reply") == {}


async def test_an_unknown_assistant_is_not_found(tool: Tool) -> None:
    assistants = tool.client.assistants
    for asked in (assistants.get, assistants.get_graph, assistants.get_schemas, assistants.get_subgraphs):
        with pytest.raises(NotFoundError, match="no assistant 'no_such_graph'"):
            await asked("no_such_graph")


async def test_assistants_are_not_made_or_changed(tool: Tool) -> None:
    assistants = tool.client.assistants
    for attempt in (
        assistants.create("conversation", name="mine"),
        assistants.update("conversation", name="mine"),
        assistants.delete("conversation"),
        assistants.set_latest("conversation", 1),
    ):
        with pytest.raises(APIStatusError, match="not made or changed here") as refused:
            await attempt
        assert refused.value.status_code == 405


async def test_a_tool_learns_where_it_is_without_a_key(tool: Tool) -> None:
    assert await tool.client.http.get("/ok") == {"ok": True}
    info = await tool.client.http.get("/info")
    assert info["flags"] == {"assistants": True, "crons": False, "langsmith": False}
    assert info["strict_resume"] is True
