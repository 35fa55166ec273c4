"""Where a thread stands and stood, and a new life from there."""

import json
from collections.abc import Awaitable
from typing import Any

import pytest
from langgraph_sdk.errors import (
    APIStatusError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)

from tests.api.agent.conftest import REPLY, Tool

NOWHERE = "1f000000-0000-6000-8000-000000000000"


async def two_turns(tool: Tool) -> tuple[str, str, str]:
    """A conversation of two turns: its thread, and the two runs."""
    sender = await tool.scene.hear("office timings")
    (first,) = await tool.scene.advance()
    await tool.scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await tool.scene.advance()
    return first.thread_id, first.run_id, second.run_id


async def refused(tool: Tool, attempt: Awaitable[Any], error: type[APIStatusError], why: str) -> None:
    before = await tool.scene.everything()
    with pytest.raises(error, match=why):
        await attempt
    assert await tool.scene.everything() == before


async def test_a_state_is_plain_json_with_messages_as_objects(tool: Tool) -> None:
    thread_id, _, second = await two_turns(tool)
    state = await tool.client.threads.get_state(thread_id)
    message = state["values"]["messages"][0]
    assert (message["type"], message["content"]) == ("human", "office timings")
    assert (state["next"], state["tasks"], state["interrupts"]) == ([], [], [])
    assert state["metadata"]["run_id"] == second
    assert state["checkpoint"]["checkpoint_ns"] == ""
    assert state["checkpoint"]["thread_id"] == state["parent_checkpoint"]["thread_id"] == thread_id
    assert json.loads(json.dumps(state)) == state


async def test_the_state_of_a_waiting_run_tells_who_asks_what(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    state = await tool.client.threads.get_state(waiting.thread_id, subgraphs=True)
    assert state["next"] == ["wait"]
    (task,) = state["tasks"]
    assert (task["name"], task["error"], task["result"]) == ("wait", None, None)
    assert task["interrupts"] == state["interrupts"]
    assert state["interrupts"][0]["value"]["asks"] == "person"


async def test_the_history_goes_back_over_the_turns_and_may_be_cut_to_one(tool: Tool) -> None:
    thread_id, first, second = await two_turns(tool)
    threads = tool.client.threads
    history = await threads.get_history(thread_id, limit=100)
    runs = [state["metadata"]["run_id"] for state in history]
    assert runs == [second] * (len(runs) // 2) + [first] * (len(runs) // 2)
    assert [state["next"] for state in history[:3]] == [[], ["emit"], ["guard"]]
    assert await threads.get_history(thread_id) == history[:10]
    assert await threads.get_history(thread_id, limit=2) == history[:2]
    of_first = [state for state in history if state["metadata"]["run_id"] == first]
    assert await threads.get_history(thread_id, metadata={"run_id": first}) == of_first
    for before in (history[2]["checkpoint"], history[2]["checkpoint"]["checkpoint_id"]):
        assert await threads.get_history(thread_id, before=before, limit=2) == history[3:5]


async def test_a_state_is_found_by_its_checkpoint_however_it_is_named(tool: Tool) -> None:
    thread_id, *_ = await two_turns(tool)
    threads = tool.client.threads
    (state,) = (await threads.get_history(thread_id, limit=3))[2:]
    assert await threads.get_state(thread_id, checkpoint_id=state["checkpoint"]["checkpoint_id"]) == state
    assert await threads.get_state(thread_id, checkpoint=state["checkpoint"]) == state
    latest: Any = {"thread_id": thread_id, "checkpoint_ns": ""}
    assert await threads.get_state(thread_id, checkpoint=latest) == await threads.get_state(thread_id)


async def test_a_tool_gets_the_parts_of_a_state_that_it_selects(tool: Tool) -> None:
    thread_id, *_ = await two_turns(tool)
    threads = tool.client.threads
    checkpoint = (await threads.get_state(thread_id))["checkpoint"]
    parts = await threads.get_state(thread_id, select=["next", "values.owner"])
    assert parts == {"next": [], "values": {"owner": "agent"}}
    assert await threads.get_state(thread_id, checkpoint=checkpoint, select=["next", "values.owner"]) == parts
    assert await threads.get_state(thread_id, checkpoint_id=checkpoint["checkpoint_id"], select=["next"]) == {
        "next": []
    }
    assert await threads.get_history(thread_id, limit=1, select=["checkpoint"]) == [{"checkpoint": checkpoint}]
    with pytest.raises(UnprocessableEntityError, match=r"query\.select"):
        await threads.get_state(thread_id, select=["everything"])


async def test_an_unknown_checkpoint_is_not_found_and_one_of_another_thread_neither(tool: Tool) -> None:
    thread_id, *_ = await two_turns(tool)
    other = await tool.scene.answered("office timings")
    threads = tool.client.threads
    elsewhere = (await threads.get_state(other.thread_id))["checkpoint"]
    for checkpoint_id in (NOWHERE, str(elsewhere["checkpoint_id"]), "nonsense"):
        with pytest.raises(NotFoundError, match="has no checkpoint"):
            await threads.get_state(thread_id, checkpoint_id=checkpoint_id)
    with pytest.raises(BadRequestError, match=r"checkpoint\.thread_id: .* is not the thread of this request"):
        await threads.get_state(thread_id, checkpoint=elsewhere)
    inside: Any = {"thread_id": thread_id, "checkpoint_ns": "reply:1", "checkpoint_id": NOWHERE}
    with pytest.raises(UnprocessableEntityError, match="states inside an agent are not shown"):
        await threads.get_state(thread_id, checkpoint=inside)


async def test_a_thread_that_has_no_state_yet_has_an_empty_one(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT thread_id FROM core.runs")
    state = await tool.client.threads.get_state(run["thread_id"])
    assert (state["values"], state["next"], state["checkpoint"]["checkpoint_id"]) == ({}, [], None)
    assert await tool.client.threads.get_history(run["thread_id"]) == []


async def test_an_edited_state_begins_a_fork_at_its_checkpoint(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    threads = tool.client.threads
    before_emit = next(state for state in await threads.get_history(turn.thread_id) if state["next"] == ["emit"])
    decision = before_emit["values"]["decision"] | {"hand_off": "person_asked"}
    rewound = await tool.scene.everything()
    forked: Any = await threads.update_state(
        turn.thread_id, {"decision": decision}, checkpoint=before_emit["checkpoint"]
    )
    run_id = forked["run_id"]
    assert forked["checkpoint"] == {
        "thread_id": run_id, "checkpoint_ns": "", "checkpoint_id": None, "checkpoint_map": None
    }  # fmt: skip
    await tool.scene.advance()
    row = await tool.scene.run(run_id)
    assert (row["kind"], row["outcome"], row["parent_id"]) == ("fork", "handed_off", turn.run_id)
    assert await tool.scene.nodes(run_id) == ["emit"]
    assert (await threads.get_state(turn.thread_id))["values"]["decision"] == before_emit["values"]["decision"]
    assert len((await tool.scene.everything())["checkpoints"]) > len(rewound["checkpoints"])


async def test_without_a_checkpoint_a_fork_begins_at_the_start_of_the_last_run(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    (message,) = (await tool.scene.run(turn.run_id))["input"]["trigger"]
    trigger = [message | {"text": "Can I get a tax receipt for my donation?"}]
    forked: Any = await tool.client.threads.update_state(turn.thread_id, {"trigger": trigger})
    await tool.scene.advance()
    assert (await tool.scene.nodes(forked["run_id"]))[0] == "recall"
    assert "80G tax receipt" in (await tool.scene.sent())[-1]["text"]


async def test_the_checkpoint_of_the_input_is_the_start_too(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    first = (await tool.client.threads.get_history(turn.thread_id))[-1]
    assert first["next"] == ["__start__"]
    forked: Any = await tool.client.threads.update_state(turn.thread_id, None, checkpoint=first["checkpoint"])
    await tool.scene.advance()
    row = await tool.scene.run(forked["run_id"])
    assert (row["outcome"], row["origin"]["checkpoint_id"]) == ("answered", None)


async def test_an_update_under_one_idempotency_key_forks_once(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    headers = {"Idempotency-Key": "fork-1"}
    answers = [await tool.client.threads.update_state(turn.thread_id, {}, headers=headers) for _ in range(2)]
    assert answers[0] == answers[1]
    assert await tool.client.threads.count(metadata={"kind": "fork"}) == 1


async def test_a_state_that_nobody_could_go_on_from_is_refused_and_nothing_changes(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    threads, thread_id = tool.client.threads, turn.thread_id
    history = await threads.get_history(thread_id)
    end, elsewhere = history[0]["checkpoint"], {"thread_id": "conv_0", "checkpoint_ns": "", "checkpoint_id": NOWHERE}
    wrong: list[tuple[Any, dict[str, Any], type[APIStatusError], str]] = [
        ({"decision": "yes"}, {}, BadRequestError, r"values\.decision"),
        ({"no_such_field": 1}, {}, BadRequestError, r"values\.no_such_field"),
        ({"tenant_id": "t_other"}, {}, BadRequestError, r"values\.tenant_id"),
        ({"decision": {"action": "shout"}}, {}, BadRequestError, r"values\.decision"),
        ([{"owner": "agent"}], {}, UnprocessableEntityError, "body.values"),
        ({"owner": "a\x00"}, {}, UnprocessableEntityError, "U.0000"),
        ({}, {"checkpoint_id": NOWHERE}, NotFoundError, "has no checkpoint"),
        ({}, {"checkpoint": elsewhere}, BadRequestError, "is not the thread of this request"),
        ({}, {"checkpoint": end, "checkpoint_id": NOWHERE}, BadRequestError, "two are named"),
        ({}, {"checkpoint": end}, ConflictError, "had ended at checkpoint"),
        ({}, {"as_node": "emit"}, UnprocessableEntityError, "follows from the edited state"),
    ]
    for values, options, error, why in wrong:
        await refused(tool, threads.update_state(thread_id, values, **options), error, why)


async def test_a_fork_of_another_version_of_the_graph_is_refused(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    history = await tool.client.threads.get_history(turn.thread_id)
    await tool.scene.rows("UPDATE core.runs SET graph_version = '0' WHERE id = %s RETURNING 1", turn.run_id)
    attempt = tool.client.threads.update_state(turn.thread_id, {}, checkpoint=history[1]["checkpoint"])
    await refused(tool, attempt, ConflictError, "began under version 0")


async def test_a_fork_of_a_run_that_waits_waits_for_an_answer_of_its_own(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    state = await tool.client.threads.get_state(waiting.thread_id)
    forked: Any = await tool.client.threads.update_state(waiting.thread_id, {}, checkpoint=state["checkpoint"])
    await tool.scene.advance()
    await tool.client.runs.create(forked["run_id"], "hand_off", command={"resume": REPLY})
    await tool.scene.advance()
    assert (await tool.scene.sent())[-1]["run_id"] == forked["run_id"]
    assert (await tool.client.threads.get(waiting.thread_id))["status"] == "interrupted"
