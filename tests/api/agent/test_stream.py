"""A run as it goes: each step once, in order, however often the connection is cut."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.errors import BadRequestError, NotFoundError, UnprocessableEntityError
from langgraph_sdk.schema import StreamPart

from tests.api.agent.conftest import REPLY, Tool
from tests.api.agent.cutting import cutting
from tests.api.agent.test_runs import fail

TURN = ["recall", "triage", "reply", "guard", "emit"]


async def parts_of(stream: AsyncIterator[StreamPart]) -> list[StreamPart]:
    return [part async for part in stream]


def nodes_of(parts: list[StreamPart]) -> list[str]:
    return [node for part in parts if part.event == "updates" for node in part.data]


def told(parts: list[StreamPart]) -> list[str]:
    return [part.event for part in parts]


async def test_a_finished_run_is_told_step_by_step_with_the_state_after_each(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    parts = await parts_of(tool.client.runs.join_stream(turn.thread_id, turn.run_id))
    assert told(parts) == ["metadata", *["updates", "values"] * len(TURN), "end"]
    assert parts[0].data == {"run_id": turn.run_id, "attempt": 1}
    assert nodes_of(parts) == TURN
    assert parts[-1].data == {"run_id": turn.run_id, "status": "success"}
    (emitted,) = [part.data["emit"] for part in parts if part.event == "updates" and "emit" in part.data]
    final = parts[-2].data
    assert (
        final["effects"] == emitted["effects"] == (await tool.client.threads.get(turn.thread_id))["values"]["effects"]
    )
    assert len(final["trail"]) == len(TURN)


@pytest.mark.parametrize(
    ("mode", "kinds"), [("updates", ["updates"]), ("values", ["values"]), (["updates"], ["updates"])]
)
async def test_only_what_is_asked_for_is_told(tool: Tool, mode: Any, kinds: list[str]) -> None:
    turn = await tool.scene.answered("office timings")
    parts = await parts_of(tool.client.runs.join_stream(turn.thread_id, turn.run_id, stream_mode=mode))
    assert told(parts) == ["metadata", *kinds * len(TURN), "end"]


async def test_steps_inside_an_agent_are_told_where_they_are_asked_for(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    runs, of_all = tool.client.runs, {"stream_subgraphs": "true"}
    parts = await parts_of(
        runs.join_stream(
            turn.thread_id, turn.run_id, stream_mode="updates", params={"stream_mode": "updates", **of_all}
        )
    )
    (inner,) = [part for part in parts if part.event == "updates|reply"]
    message = inner.data["model"]["messages"][0]
    assert message["type"] == "ai"
    assert "content" in message
    assert nodes_of(parts) == TURN


async def test_a_run_is_told_while_a_worker_takes_its_steps(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT id, thread_id FROM core.runs")
    stream = tool.client.runs.join_stream(run["thread_id"], run["id"])
    first = await anext(stream)
    assert first.event == "metadata"
    async with tool.working():
        parts = [first, *await parts_of(stream)]
    assert nodes_of(parts) == TURN


async def test_an_answer_is_followed_by_the_steps_that_it_leads_to(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    asked = await parts_of(tool.client.runs.join_stream(waiting.thread_id, waiting.run_id))
    assert told(asked) == ["metadata", "updates", "values", "end"]
    (interrupt,) = asked[1].data["__interrupt__"]
    assert asked[2].data["__interrupt__"] == [interrupt]
    assert asked[3].data["status"] == "interrupted"
    async with tool.working():
        parts = await parts_of(
            tool.client.runs.stream(
                waiting.thread_id, "hand_off", command={"resume": {interrupt["id"]: REPLY}}, stream_mode=["updates"]
            )
        )
    assert told(parts) == ["metadata", "updates", "updates", "end"]
    assert nodes_of(parts) == ["wait", "settle"]


async def test_a_stream_of_the_second_format_tells_the_same(tool: Tool) -> None:
    turn, _ = await tool.scene.handed_off()
    history = await tool.client.threads.get_history(turn.thread_id)
    checkpoint = next(state["checkpoint"] for state in history if state["next"] == ["guard"])
    async with tool.working():
        stream = tool.client.runs.stream(
            turn.thread_id, "conversation", checkpoint=checkpoint, context={"dry_run": True}, version="v2"
        )
        parts = [part async for part in stream]
    assert [part["type"] for part in parts] == ["metadata", "values", "values"]
    assert [part["interrupts"] for part in parts] == [[], [], []]


@pytest.mark.parametrize("last", range(-1, 12))
async def test_whoever_was_cut_off_is_told_what_followed(tool: Tool, last: int) -> None:
    turn = await tool.scene.answered("office timings")
    runs = tool.client.runs
    every = await parts_of(runs.join_stream(turn.thread_id, turn.run_id))
    rest = await parts_of(runs.join_stream(turn.thread_id, turn.run_id, last_event_id=str(last)))
    followed = [part for part in every if part.event in ("updates", "values") and int(part.id or 0) > last]
    assert rest[1:-1] == followed
    assert (rest[0].event, rest[0].id) == ("metadata", str(last))


async def test_a_client_that_is_cut_off_goes_on_by_itself_and_gets_each_step_once(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    async with (
        cutting(tool.server.port, b"event: updates", b"\nid: 1\n\n", b"event: values") as cuts,
        get_client(url=f"{cuts.url}/agent", api_key=None, headers=tool.headers) as client,
        tool.working(),
    ):
        stream = client.runs.stream(
            waiting.thread_id, "hand_off", command={"resume": REPLY}, stream_mode=["values", "updates"]
        )
        parts = [part for part in await parts_of(stream) if part.event != "metadata"]
    assert told(parts) == ["updates", "values", "updates", "values", "end"]
    assert nodes_of(parts) == ["wait", "settle"]
    run = f"/agent/threads/{waiting.thread_id}/runs"
    again = f"GET {run}/{waiting.run_id}/stream?stream_mode=updates&stream_mode=values Last-Event-ID"
    assert cuts.requests == [f"POST {run}/stream", f"{again}: -1", f"{again}: 1", f"{again}: 2"]
    assert len(await tool.scene.rows("SELECT 1 FROM core.run_commands")) == 1


async def test_a_client_that_is_cut_off_while_it_waits_joins_by_itself(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    async with (
        cutting(tool.server.port, b"\r\n\r\n") as cuts,
        get_client(url=f"{cuts.url}/agent", api_key=None, headers=tool.headers) as client,
        tool.working(),
    ):
        with pytest.warns(UserWarning, match="attempting reconnect to Location"):
            values: Any = await client.runs.wait(waiting.thread_id, "hand_off", command={"resume": REPLY})
    assert values["answer"] == REPLY
    run = f"/agent/threads/{waiting.thread_id}/runs"
    assert cuts.requests == [f"POST {run}/wait", f"GET {run}/{waiting.run_id}/join"]


async def test_a_run_that_failed_ends_with_its_error(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    await fail(tool, turn.run_id)
    parts = await parts_of(tool.client.runs.join_stream(turn.thread_id, turn.run_id, stream_mode="updates"))
    assert told(parts)[-2:] == ["error", "end"]
    assert parts[-2].data == {"error": "dead", "message": "given up after 5 attempts"}
    assert parts[-1].data["status"] == "error"


async def test_a_run_whose_checkpoints_are_gone_is_told_by_its_record(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    await tool.scene.rows("DELETE FROM checkpoints RETURNING 1")
    parts = await parts_of(tool.client.runs.join_stream(turn.thread_id, turn.run_id))
    assert told(parts) == ["metadata", *["updates"] * len(TURN), "end"]


async def test_what_is_not_told_is_refused(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    runs = tool.client.runs
    with pytest.raises(UnprocessableEntityError, match="stream_mode"):
        await anext(runs.join_stream(turn.thread_id, turn.run_id, stream_mode="messages"))
    with pytest.raises(BadRequestError, match="a run goes on when its caller goes away"):
        await anext(runs.join_stream(turn.thread_id, turn.run_id, cancel_on_disconnect=True))
    with pytest.raises(UnprocessableEntityError, match="last-event-id"):
        await anext(runs.join_stream(turn.thread_id, turn.run_id, last_event_id="yesterday"))
    with pytest.raises(NotFoundError, match="has no run"):
        await anext(runs.join_stream(turn.thread_id, "run_0"))


async def test_a_stream_is_not_kept_by_those_between(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    async with httpx.AsyncClient(base_url=tool.server.url, headers=tool.headers) as client:
        answer = await client.get(f"/agent/threads/{turn.thread_id}/runs/{turn.run_id}/stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
