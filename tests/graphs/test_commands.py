"""What people ask of runs: let it go on, end it, try it again, let go of it."""

import asyncio
from typing import Any

import pytest
from langgraph.runtime import RunControl

from core.errors import Conflict, NotFound
from core.ids import RunId, new_id
from db.provision import create_tenant
from db.transactions import tenant_tx
from graphs import commands
from graphs.run import CANCELLED, run_claimed
from graphs.run_claim import ClaimedRun, extend_runs, release_run
from models.offline.chat import OfflineChatModel
from tests.conftest import Stack
from tests.graphs.operated import BY, Operated


async def asked(scene: Operated) -> list[dict[str, Any]]:
    """What was asked of the runs, oldest first."""
    return await scene.rows("SELECT run_id, kind, state, requested_by FROM core.run_commands ORDER BY created_at")


async def a_queued_turn(scene: Operated) -> RunId:
    await scene.hear("office timings")
    (row,) = await scene.rows("SELECT id FROM core.runs WHERE state = 'queued'")
    return RunId(row["id"])


async def a_failed_turn(scene: Operated, monkeypatch: pytest.MonkeyPatch) -> RunId:
    """A turn that failed for good after its third step."""

    def fail(*_: object) -> None:
        raise commands.RequestInvalid("a defect of the guard")

    await scene.hear("office timings")
    with monkeypatch.context() as patched:
        patched.setattr("graphs.conversation.respect_owner", fail)
        turn = await scene.claim()
        assert turn is not None
        await run_claimed(scene.runtime, turn, RunControl())
    assert (await scene.run(turn.run_id))["state"] == "failed"
    return turn.run_id


async def test_a_queued_run_is_cancelled_at_once_and_answers_nothing(scene: Operated) -> None:
    run_id = await a_queued_turn(scene)
    async with scene.asking() as connection:
        await commands.cancel(connection, run_id, by=BY)
    row = await scene.run(run_id)
    assert (row["state"], row["outcome"], row["finished_at"] is None) == ("cancelled", "cancelled", False)
    assert await asked(scene) == [{"run_id": run_id, "kind": "cancel", "state": "done", "requested_by": BY}]
    assert await scene.advance() == []
    assert await scene.sent() == []


async def test_what_a_cancelled_turn_left_unanswered_the_next_one_answers(scene: Operated) -> None:
    sender = await scene.hear("office timings")
    (row,) = await scene.rows("SELECT id FROM core.runs")
    async with scene.asking() as connection:
        await commands.cancel(connection, RunId(row["id"]), by=BY)
    await scene.hear("and the 80G receipt?", sender=sender)
    await scene.advance()
    (reply,) = await scene.sent()
    assert "10:00 to 18:00" in reply["text"]
    assert "80G tax receipt" in reply["text"]


async def test_a_waiting_run_is_cancelled_at_once_and_asks_nothing_more(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    async with scene.asking() as connection:
        await commands.cancel(connection, waiting.run_id, by=BY)
    row = await scene.run(waiting.run_id)
    assert (row["state"], row["interrupts"]) == ("cancelled", [])
    assert await scene.advance() == []


async def test_a_cancelled_run_that_was_to_wake_its_conversation_does(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    await scene.rows("UPDATE core.runs SET wake = true WHERE id = %s RETURNING 1", waiting.run_id)
    async with scene.asking() as connection:
        await commands.cancel(connection, waiting.run_id, by=BY)
    (turn,) = await scene.advance()
    assert (await scene.run(turn.run_id))["input"]["finished"] == [
        {"run_id": waiting.run_id, "graph": "hand_off", "state": "cancelled", "outcome": "cancelled"}
    ]


async def test_a_run_at_work_is_cancelled_between_two_steps_and_nothing_of_it_is_sent(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, begun, go_on = await blocked_in_triage(scene, monkeypatch)
    control = RunControl()
    task = asyncio.create_task(run_claimed(scene.runtime, turn, control))
    await begun.wait()
    async with scene.asking() as connection:
        await commands.cancel(connection, turn.run_id, by=BY)
    assert [one["state"] for one in await asked(scene)] == ["new"]
    kept = await extend_runs(scene.database, [turn])
    assert (kept.held, kept.cancelled) == ({turn.run_id}, {turn.run_id})
    control.request_drain(CANCELLED)
    go_on.set()
    await task
    row = await scene.run(turn.run_id)
    assert (row["state"], row["outcome"]) == ("cancelled", "cancelled")
    assert [one["state"] for one in await asked(scene)] == ["done"]
    assert await scene.sent() == []
    steps = await scene.rows("SELECT node FROM core.run_steps ORDER BY position")
    assert [step["node"] for step in steps] == ["recall", "triage"]


async def test_a_run_that_nobody_told_in_time_to_end_commits_nothing(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is past its last step boundary when the cancellation comes."""
    turn, begun, go_on = await blocked_in_triage(scene, monkeypatch)
    task = asyncio.create_task(run_claimed(scene.runtime, turn, RunControl()))
    await begun.wait()
    async with scene.asking() as connection:
        await commands.cancel(connection, turn.run_id, by=BY)
    go_on.set()
    await task
    assert (await scene.run(turn.run_id))["state"] == "cancelled"
    assert await scene.sent() == []


@pytest.mark.parametrize("act", [commands.cancel, commands.resume, commands.retry_run, commands.discard_run])
async def test_a_finished_run_takes_no_command_and_nothing_changes(scene: Operated, act: Any) -> None:
    turn = await scene.answered("office timings")
    before = await scene.everything()
    with pytest.raises(Conflict, match="succeeded"):
        async with scene.asking() as connection:
            await act(connection, turn.run_id, by=BY)
    assert await scene.everything() == before


@pytest.mark.parametrize("act", [commands.cancel, commands.resume, commands.retry_run, commands.discard_run])
async def test_another_tenants_run_is_unknown(scene: Operated, stack: Stack, act: Any) -> None:
    run_id = await a_queued_turn(scene)
    stranger = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="A stranger")
    before = await scene.everything()
    with pytest.raises(NotFound):
        async with tenant_tx(scene.database, stranger, commit="test") as connection:
            await act(connection, run_id, by=BY)
    assert await scene.everything() == before


async def test_a_run_at_work_needs_no_resuming(scene: Operated) -> None:
    await a_queued_turn(scene)
    turn = await scene.claim()
    assert turn is not None
    before = await scene.everything()
    with pytest.raises(Conflict, match="is at work"):
        async with scene.asking() as connection:
            await commands.resume(connection, turn.run_id, by=BY)
    assert await scene.everything() == before


async def test_a_run_whose_process_died_is_resumed_by_command_before_its_lease_would_let_it(scene: Operated) -> None:
    turn = await interrupted(scene)
    async with scene.asking() as connection:
        await commands.resume(connection, turn.run_id, by=BY)
    (again,) = await scene.advance()
    assert (again.run_id, again.attempts) == (turn.run_id, 2)
    assert len(await scene.sent()) == 1


async def test_a_run_that_waits_for_its_next_attempt_is_cancelled_at_once(scene: Operated) -> None:
    turn = await interrupted(scene)
    async with scene.asking() as connection:
        await commands.cancel(connection, turn.run_id, by=BY)
    assert (await scene.run(turn.run_id))["state"] == "cancelled"


async def test_an_answer_to_a_run_that_asks_nothing_is_refused(scene: Operated) -> None:
    run_id = await a_queued_turn(scene)
    before = await scene.everything()
    with pytest.raises(Conflict, match="asks nothing"):
        async with scene.asking() as connection:
            await commands.resume(connection, run_id, answer={"action": "leave"}, by=BY)
    assert await scene.everything() == before


@pytest.mark.parametrize("act", [commands.resume, commands.retry_run])
async def test_a_failed_turn_is_tried_again_where_it_failed_and_nobody_is_asked_any_more(
    scene: Operated, monkeypatch: pytest.MonkeyPatch, act: Any
) -> None:
    run_id = await a_failed_turn(scene, monkeypatch)
    await scene.advance()
    assert await scene.owner() == "awaiting_person"
    async with scene.asking() as connection:
        await act(connection, run_id, by=BY)
    assert [row["state"] for row in await scene.rows("SELECT state FROM core.runs WHERE kind = 'hand_off'")] == [
        "cancelled"
    ]
    assert [run.run_id for run in await scene.advance()] == [run_id]
    assert (await scene.run(run_id))["outcome"] == "answered"
    assert await scene.owner() == "agent"
    assert len(await scene.sent()) == 1
    steps = await scene.rows(
        "SELECT node, error IS NULL AS well FROM core.run_steps WHERE namespace = '' ORDER BY position"
    )
    assert [(step["node"], step["well"]) for step in steps] == [
        ("recall", True), ("triage", True), ("reply", True), ("guard", False), ("guard", True), ("emit", True)
    ]  # fmt: skip


async def test_a_failed_turn_whose_messages_were_answered_since_is_not_tried_again(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await a_failed_turn(scene, monkeypatch)
    await scene.rows("UPDATE messages SET run_id = 'run_of_another' WHERE direction = 'inbound' RETURNING 1")
    before = await scene.everything()
    with pytest.raises(Conflict, match="run_of_another"):
        async with scene.asking() as connection:
            await commands.retry_run(connection, run_id, by=BY)
    assert await scene.everything() == before


async def test_a_failed_run_that_is_let_go_keeps_its_cause(scene: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await a_failed_turn(scene, monkeypatch)
    async with scene.asking() as connection:
        await commands.discard_run(connection, run_id, by=BY, reason="known defect")
    row = await scene.run(run_id)
    assert (row["state"], row["outcome"]) == ("cancelled", "discarded")
    assert "a defect of the guard" in row["error"]
    (kept,) = await scene.rows("SELECT kind, payload FROM core.run_commands")
    assert kept == {"kind": "discard", "payload": {"reason": "known defect"}}


async def interrupted(scene: Operated) -> ClaimedRun:
    """A turn whose attempt failed and whose next one is a while away."""
    await a_queued_turn(scene)
    turn = await scene.claim()
    assert turn is not None
    await release_run(scene.database, turn, wait_s=3600, error="it failed")
    assert await scene.claim() is None
    return turn


async def blocked_in_triage(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> tuple[ClaimedRun, asyncio.Event, asyncio.Event]:
    """A turn whose triage says when it has begun, and ends when it is told to go on."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    generate = OfflineChatModel._agenerate

    async def wait(*arguments: Any, **options: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await generate(*arguments, **options)

    monkeypatch.setattr(OfflineChatModel, "_agenerate", wait)
    await scene.hear("office timings")
    turn = await scene.claim()
    assert turn is not None
    return turn, begun, go_on
