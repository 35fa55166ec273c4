"""Letting runs go on, looking at them and ending them, by the official client."""

from collections.abc import Awaitable
from typing import Any

import pytest
from httpx import HTTPStatusError
from langgraph_sdk.errors import (
    APIStatusError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)
from langgraph_sdk.schema import RunCreateMetadata

from api.agent.shapes import assistant_id_of
from tests.api.agent.conftest import LEAVE, REPLY, Tool

STALE = "0" * 32


async def refused(tool: Tool, attempt: Awaitable[Any], error: type[HTTPStatusError], why: str) -> None:
    before = await tool.scene.everything()
    with pytest.raises(error, match=why):
        await attempt
    assert await tool.scene.everything() == before


async def interrupt_of(tool: Tool, thread_id: str) -> str:
    state = await tool.client.threads.get_state(thread_id)
    return state["interrupts"][0]["id"]


async def fail(tool: Tool, run_id: str, state: str = "dead") -> None:
    """As if every attempt had failed."""
    await tool.scene.rows(
        """UPDATE core.runs SET state = %s, outcome = %s, error = 'given up after 5 attempts', attempts = 5
           WHERE id = %s RETURNING 1""",
        state, state, run_id,
    )  # fmt: skip


async def test_an_answer_lets_the_waiting_run_go_on(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    created: list[RunCreateMetadata] = []
    run = await tool.client.runs.create(
        waiting.thread_id, "hand_off", command={"resume": REPLY}, on_run_created=created.append
    )
    assert created == [{"run_id": waiting.run_id, "thread_id": waiting.thread_id}]
    assert (run["run_id"], run["thread_id"], run["status"]) == (waiting.run_id, waiting.thread_id, "pending")
    assert run["assistant_id"] == assistant_id_of("hand_off")
    assert (run["metadata"]["kind"], run["metadata"]["parent_id"]) == ("hand_off", turn.run_id)
    await tool.scene.advance()
    run = await tool.client.runs.get(waiting.thread_id, waiting.run_id)
    assert (run["status"], run["metadata"]["outcome"]) == ("success", "answered")
    assert run["updated_at"] > run["created_at"]
    assert (await tool.scene.sent())[-1]["text"] == REPLY["text"]


@pytest.mark.parametrize("named", ["by_map", "by_checkpoint", "by_configuration", "by_assistant_id"])
async def test_an_answer_may_name_its_question_its_checkpoint_or_its_assistant(tool: Tool, named: str) -> None:
    _, waiting = await tool.scene.handed_off()
    state = await tool.client.threads.get_state(waiting.thread_id)
    answers = {state["interrupts"][0]["id"]: LEAVE} if named == "by_map" else LEAVE
    options: dict[str, dict[str, Any]] = {
        "by_checkpoint": {"checkpoint": state["checkpoint"]},
        "by_configuration": {"config": {"configurable": state["checkpoint"]}},
    }
    assistant = assistant_id_of("hand_off") if named == "by_assistant_id" else "hand_off"
    await tool.client.runs.create(
        waiting.thread_id, assistant, command={"resume": answers}, if_not_exists="create", multitask_strategy="reject",
        durability="sync", strict_resume=True, **options.get(named, {}),
    )  # fmt: skip
    await tool.scene.advance()
    assert (await tool.scene.run(waiting.run_id))["state"] == "succeeded"


async def test_a_run_that_died_goes_on_without_an_answer(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT id, thread_id FROM core.runs")
    await fail(tool, run["id"])
    assert (await tool.client.runs.get(run["thread_id"], run["id"]))["status"] == "error"
    again = await tool.client.runs.create(run["thread_id"], "conversation", input=None)
    assert (again["run_id"], again["status"]) == (run["id"], "pending")
    await tool.scene.advance()
    assert (await tool.client.runs.get(run["thread_id"], run["id"]))["status"] == "success"


async def test_a_checkpoint_begins_a_fork_on_a_thread_of_its_own(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    history = await tool.client.threads.get_history(turn.thread_id)
    checkpoint = next(state["checkpoint"] for state in history if state["next"] == ["guard"])
    fork = await tool.client.runs.create(turn.thread_id, "conversation", checkpoint=checkpoint)
    assert fork["run_id"] == fork["thread_id"] != turn.run_id
    assert (fork["metadata"]["kind"], fork["metadata"]["dry_run"]) == ("fork", False)
    dry = await tool.client.runs.create(
        turn.thread_id, "conversation", checkpoint_id=checkpoint["checkpoint_id"], context={"dry_run": True}
    )
    assert (dry["metadata"]["kind"], dry["metadata"]["dry_run"]) == ("fork", True)
    await tool.scene.advance()
    assert await tool.scene.nodes(fork["run_id"]) == await tool.scene.nodes(dry["run_id"]) == ["guard", "emit"]
    assert [message["run_id"] for message in await tool.scene.sent()] == [turn.run_id, fork["run_id"]]


@pytest.mark.parametrize("prompts", ["recorded", "current"])
async def test_a_dry_run_of_a_thread_repeats_its_last_run(tool: Tool, prompts: str) -> None:
    turn = await tool.scene.answered("office timings")
    context = {"dry_run": True, "prompts": prompts}
    replay = await tool.client.runs.create(turn.thread_id, "conversation", context=context)
    assert (replay["metadata"]["kind"], replay["metadata"]["parent_id"]) == ("replay", turn.run_id)
    await tool.scene.advance()
    assert (await tool.client.runs.get(replay["thread_id"], replay["run_id"]))["metadata"]["outcome"] == "dry_run"
    assert len(await tool.scene.sent()) == 1


async def test_the_same_request_under_one_idempotency_key_acts_once(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    runs, headers = tool.client.runs, {"Idempotency-Key": "replay-1"}
    context = {"dry_run": True}
    first = await runs.create(turn.thread_id, "conversation", context=context, headers=headers)
    await tool.scene.advance()
    second = await runs.create(turn.thread_id, "conversation", context=context, headers=headers)
    assert (first["run_id"], second["status"]) == (second["run_id"], "success")
    assert await tool.client.threads.count(metadata={"kind": "replay"}) == 1


async def test_the_runs_of_a_thread_are_listed_the_newest_first(tool: Tool) -> None:
    sender = await tool.scene.hear("office timings")
    (first,) = await tool.scene.advance()
    await tool.scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await tool.scene.advance()
    await fail(tool, first.run_id, "failed")
    runs, thread_id = tool.client.runs, first.thread_id
    assert [run["run_id"] for run in await runs.list(thread_id)] == [second.run_id, first.run_id]
    assert [run["run_id"] for run in await runs.list(thread_id, limit=1, offset=1)] == [first.run_id]
    assert [run["run_id"] for run in await runs.list(thread_id, status="error")] == [first.run_id]
    assert [run["run_id"] for run in await runs.list(thread_id, status="success")] == [second.run_id]
    for status in ("pending", "running", "interrupted", "timeout"):
        assert await runs.list(thread_id, status=status) == []
    assert await runs.list(thread_id, limit=1, select=["run_id", "status"]) == [
        {"run_id": second.run_id, "status": "success"}
    ]


async def test_one_run_tells_what_it_began_with(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    run: Any = await tool.client.runs.get(turn.thread_id, turn.run_id)
    assert run["kwargs"]["input"]["trigger"][0]["text"] == "office timings"
    assert run["kwargs"]["config"]["configurable"]["thread_id"] == turn.thread_id
    assert (run["cancel_reason"], run["multitask_strategy"]) == (None, "enqueue")


async def test_a_cancelled_run_is_an_interrupted_one_with_a_reason(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    await tool.client.runs.cancel(waiting.thread_id, waiting.run_id)
    run = await tool.client.runs.get(waiting.thread_id, waiting.run_id)
    assert (run["status"], run["cancel_reason"]) == ("interrupted", "cancelled")
    assert (await tool.client.threads.get(waiting.thread_id))["status"] == "idle"
    again = tool.client.runs.cancel(waiting.thread_id, waiting.run_id)
    await refused(tool, again, ConflictError, "been cancelled already")


async def test_a_cancelled_run_may_be_waited_for(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    claimed = await tool.scene.claim()
    assert claimed is not None
    await tool.scene.let_leases_end()
    assert await tool.client.runs.cancel(claimed.thread_id, claimed.run_id, wait=True) is None
    assert (await tool.scene.run(claimed.run_id))["state"] == "cancelled"


async def test_what_a_run_did_is_not_rolled_back_or_deleted(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    runs = tool.client.runs
    rollback = runs.cancel(waiting.thread_id, waiting.run_id, action="rollback")
    await refused(tool, rollback, BadRequestError, "is not rolled back")
    await refused(tool, runs.delete(turn.thread_id, turn.run_id), APIStatusError, "are not deleted")
    await refused(tool, runs.cancel_many(status="all"), APIStatusError, "one by one")
    # Where it waits, the client shows a refusal's words as a note of its error.
    await refused(tool, runs.wait(None, "conversation", input={}), HTTPStatusError, "405")
    for attempt in (
        runs.create(None, "conversation", input={}),
        runs.create_batch([]),
        anext(runs.stream(None, "conversation", input={})),
    ):
        await refused(tool, attempt, APIStatusError, "every run belongs to a thread")


async def test_what_cannot_go_on_is_refused_and_nothing_changes(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    runs, thread_id = tool.client.runs, waiting.thread_id
    history = await tool.client.threads.get_history(thread_id)
    wrong: list[tuple[dict[str, Any], type[APIStatusError], str]] = [
        ({"command": {"resume": {"action": "shout"}}}, BadRequestError, "answer: .*'shout'"),
        ({"command": {"resume": {"action": "reply"}}}, BadRequestError, r"answer\.reply\.text"),
        ({"command": {"resume": "yes"}}, BadRequestError, "answer: "),
        ({"command": {"resume": {STALE: LEAVE}}}, ConflictError, "is not open"),
        ({"command": {"resume": {STALE: LEAVE, "1" * 32: LEAVE}}}, ConflictError, "is not open"),
        ({"command": {"resume": "a\x00b"}}, UnprocessableEntityError, "U.0000"),
        ({"command": {"resume": LEAVE}, "checkpoint": history[1]["checkpoint"]}, ConflictError, "does not stand at"),
        ({"command": {"resume": LEAVE}, "context": {"dry_run": True}}, BadRequestError, r"context\.dry_run"),
        ({}, BadRequestError, "answer: "),
        ({"checkpoint_id": "1f000000-nowhere"}, NotFoundError, "has no checkpoint"),
        ({"checkpoint_id": "one", "checkpoint": history[0]["checkpoint"]}, BadRequestError, "two are named"),
        ({"context": {"prompts": "current"}}, BadRequestError, r"context\.prompts"),
    ]
    for options, error, why in wrong:
        await refused(tool, runs.create(thread_id, "hand_off", **options), error, why)
    await refused(tool, runs.create(thread_id, "nobody", command={"resume": LEAVE}), NotFoundError, "no assistant")
    other = runs.create(thread_id, "conversation", command={"resume": LEAVE})
    await refused(tool, other, ConflictError, "conversation does not run on it")
    finished = runs.create(turn.thread_id, "conversation", command={"resume": LEAVE})
    await refused(tool, finished, ConflictError, "has succeeded")
    await refused(tool, runs.create(turn.thread_id, "conversation"), ConflictError, "has succeeded")


async def test_a_second_answer_is_refused(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    interrupt_id = await interrupt_of(tool, waiting.thread_id)
    await tool.client.runs.create(waiting.thread_id, "hand_off", command={"resume": LEAVE})
    for answer in (REPLY, {interrupt_id: REPLY}):
        second = tool.client.runs.create(waiting.thread_id, "hand_off", command={"resume": answer})
        await refused(tool, second, ConflictError, "was answered already")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"input": {"messages": []}}, "advanced by its messages"),
        ({"input": {}}, "advanced by its messages"),
        ({"command": {"goto": "settle"}}, "which node comes next"),
        ({"command": {"update": {"owner": "agent"}}}, "use threads.update_state"),
        ({"stream_mode": "messages-tuple"}, "'messages-tuple' is not offered"),
        ({"stream_mode": ["values", "debug"]}, "'debug' is not offered"),
        ({"multitask_strategy": "rollback"}, "left alone"),
        ({"multitask_strategy": "enqueue"}, "left alone"),
        ({"strict_resume": False}, "checked strictly"),
        ({"durability": "exit"}, "stored before the next"),
        ({"after_seconds": 60}, "begins at once"),
        ({"webhook": "http://127.0.0.1/"}, "no webhook is called"),
        ({"interrupt_before": "*"}, "only where its graph asks"),
        ({"interrupt_after": ["wait"]}, "only where its graph asks"),
        ({"metadata": {"mine": 1}}, "no metadata of their callers"),
        ({"langsmith_tracing": {"project_name": "mine"}}, "traces go where"),
        ({"on_completion": "delete"}, "threads are kept"),
        ({"config": {"recursion_limit": 100}}, "config.recursion_limit"),
        ({"config": {"tags": ["mine"]}}, "no tags"),
        ({"config": {"configurable": {"model": "mine"}}}, "config.configurable.model"),
        ({"context": {"model": "mine"}}, "context.model"),
        ({"checkpoint": {"checkpoint_ns": "reply:1"}}, "inside an agent"),
    ],
)  # fmt: skip
async def test_what_is_not_done_is_refused_and_named(tool: Tool, options: dict[str, Any], why: str) -> None:
    await refused(tool, tool.client.runs.create("conv_0", "hand_off", **options), UnprocessableEntityError, why)
