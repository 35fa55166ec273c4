"""Who may come in by this door: the keys and scopes of `/v1`, and nobody sees another tenant."""

import re
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import AuthenticationError, PermissionDeniedError

from tests.api.agent.conftest import LEAVE, Tool, client_of

OPEN = {"/agent/ok", "/agent/info"}
RUN = {"assistant_id": "conversation"}
#: A body is understood before its sender is asked who they are.
BODIES = {f"/agent/threads/{{thread_id}}/runs{end}": RUN for end in ("", "/wait", "/stream")} | {
    "/agent/threads/{thread_id}/state/checkpoint": {"checkpoint": {}}
}


def reading(client: LangGraphClient, thread_id: str, run_id: str, checkpoint: Any) -> list[Awaitable[Any]]:
    """Every call that looks."""
    return [
        client.threads.get(thread_id),
        client.threads.get_state(thread_id),
        client.threads.get_state(thread_id, checkpoint_id=checkpoint["checkpoint_id"]),
        client.threads.get_state(thread_id, checkpoint=checkpoint),
        client.threads.get_history(thread_id),
        client.runs.list(thread_id),
        client.runs.get(thread_id, run_id),
        client.runs.join(thread_id, run_id),
        anext(client.runs.join_stream(thread_id, run_id)),
    ]


def acting(client: LangGraphClient, thread_id: str, run_id: str, checkpoint: Any) -> list[Awaitable[Any]]:
    """Every call that acts."""
    return [
        client.threads.update_state(thread_id, {}),
        client.threads.update_state(thread_id, {}, checkpoint=checkpoint),
        client.threads.copy(thread_id),
        client.runs.create(thread_id, "hand_off", command={"resume": LEAVE}),
        client.runs.create(thread_id, "hand_off", checkpoint=checkpoint),
        client.runs.wait(thread_id, "hand_off", command={"resume": LEAVE}),
        anext(client.runs.stream(thread_id, "hand_off", command={"resume": LEAVE})),
        client.runs.cancel(thread_id, run_id),
        client.runs.cancel(thread_id, run_id, wait=True),
    ]


async def test_another_tenants_ids_are_as_unknown_as_ids_that_never_were(tool: Tool, stranger: LangGraphClient) -> None:
    _, waiting = await tool.scene.handed_off()
    checkpoint = (await tool.client.threads.get_state(waiting.thread_id))["checkpoint"]
    before = await tool.scene.everything()
    for calls in (reading, acting):
        foreign = calls(stranger, waiting.thread_id, waiting.run_id, checkpoint)
        unknown = calls(stranger, "run_0", "run_0", checkpoint | {"thread_id": "run_0"})
        for theirs, nobodys in zip(foreign, unknown, strict=True):
            answers: list[str] = []
            for attempt in (theirs, nobodys):
                with pytest.raises(httpx.HTTPStatusError) as refused:
                    await attempt
                assert refused.value.response.status_code == 404
                answers.append(str(refused.value).replace(waiting.run_id, "run_0"))
            assert answers[0].split("url")[0] == answers[1].split("url")[0]
    assert await tool.scene.everything() == before


async def test_a_run_of_the_tenant_is_not_found_on_another_of_its_threads(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    before = await tool.scene.everything()
    for attempt in (
        tool.client.runs.get(turn.thread_id, waiting.run_id),
        tool.client.runs.join(turn.thread_id, waiting.run_id),
        anext(tool.client.runs.join_stream(turn.thread_id, waiting.run_id)),
        tool.client.runs.cancel(turn.thread_id, waiting.run_id),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            await attempt
        assert refused.value.response.status_code == 404
    assert await tool.scene.everything() == before


async def test_a_tenant_lists_its_own_threads_alone(tool: Tool, stranger: LangGraphClient) -> None:
    turn, waiting = await tool.scene.handed_off()
    assert await stranger.threads.search() == []
    assert await stranger.threads.search(ids=[turn.thread_id, waiting.thread_id]) == []
    assert await stranger.threads.count() == 0
    assert await tool.client.threads.count() == 2


async def test_a_key_that_may_only_look_changes_nothing(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    checkpoint = (await tool.client.threads.get_state(waiting.thread_id))["checkpoint"]
    before = await tool.scene.everything()
    async with await client_of(tool.server, tool.scene.database, tool.scene.tenant_id, "read") as reader:
        for attempt in reading(reader, waiting.thread_id, waiting.run_id, checkpoint):
            await attempt
        for attempt in acting(reader, waiting.thread_id, waiting.run_id, checkpoint):
            with pytest.raises(httpx.HTTPStatusError) as refused:
                await attempt
            assert refused.value.response.status_code == 403
        assert await reader.threads.count() == 1 + 1
    async with await client_of(tool.server, tool.scene.database, tool.scene.tenant_id, "write") as writer:
        with pytest.raises(PermissionDeniedError, match="does not have the scope 'read'"):
            await writer.threads.search()
    assert await tool.scene.everything() == before


async def test_the_key_may_come_as_the_clients_own_api_key(tool: Tool) -> None:
    key = tool.headers["authorization"].removeprefix("Bearer ")
    async with get_client(url=f"{tool.server.url}/agent", api_key=key) as client:
        assert await client.threads.count() == 0


async def test_without_a_key_nothing_is_told(tool: Tool) -> None:
    async with httpx.AsyncClient(base_url=tool.server.url) as client:
        document = (await client.get("/openapi.json")).json()
        asked: set[str] = set()
        for path, operations in document["paths"].items():
            if path.startswith("/agent/"):
                for method in operations:
                    url = re.sub(r"{\w+}", "run_0", path)
                    answer = await client.request(method, url, json=BODIES.get(path, {}))
                    assert answer.status_code == (200 if path in OPEN else 401), path
                asked.add(path)
    assert len(asked) > 20
    assert BODIES.keys() | OPEN <= asked
    async with get_client(url=f"{tool.server.url}/agent", api_key="ak_of_nobody") as nobody:
        with pytest.raises(AuthenticationError, match="unknown, revoked or expired"):
            await nobody.assistants.search()
