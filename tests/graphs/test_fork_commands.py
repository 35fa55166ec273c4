"""Second lives of a run: a fork acts under its own keys, a replay acts on nothing, the run they repeat is as it was."""

from collections.abc import Mapping
from typing import Any

import pytest

from checkpoints.operations import steps_of
from core.errors import Conflict
from graphs.commands import resume
from tests.graphs.operated import BY, Operated


async def record_of(scene: Operated, run_id: str) -> Mapping[str, Any]:
    """All that is kept of a run."""
    everything = await scene.everything()
    return {
        "run": await scene.run(run_id),
        "steps": [row for row in everything["run_steps"] if row["row"]["run_id"] == run_id],
        "effects": [row for row in everything["effects"] if row["row"]["run_id"] == run_id],
        "checkpoints": [row for row in everything["checkpoints"] if row["row"][2].get("run_id") == run_id],
    }


def with_text(run: Mapping[str, Any], text: str) -> dict[str, Any]:
    """The recorded trigger with other words."""
    (message,) = run["input"]["trigger"]
    return {"trigger": [message | {"text": text}]}


async def test_a_fork_from_the_start_with_other_words_acts_once_and_leaves_the_run_as_it_was(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    before = await record_of(scene, turn.run_id)
    values = with_text(before["run"], "Can I get a tax receipt for my donation?")
    new = await scene.fork(turn.run_id, values=values)
    row = await scene.run(new)
    assert (row["kind"], row["parent_id"], row["thread_id"], row["dry_run"]) == ("fork", turn.run_id, new, False)
    assert [run.run_id for run in await scene.advance()] == [new]
    row = await scene.run(new)
    assert (row["state"], row["outcome"], row["error"]) == ("succeeded", "answered", None)
    first, second = await scene.sent()
    assert (first["run_id"], second["run_id"]) == (turn.run_id, new)
    assert "80G tax receipt" in second["text"]
    assert await record_of(scene, turn.run_id) == before
    keys = await scene.rows("SELECT key FROM core.effects WHERE kind = 'send'")
    assert len(keys) == 2
    assert not (await scene.compared(turn.run_id, new)).same


async def test_a_fork_that_is_killed_and_taken_up_again_acts_once(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies twice: before its thread is edited, and before its end is committed."""
    turn = await scene.answered("office timings")
    checkpoint_id = await scene.checkpoint_after(turn.run_id, "triage")
    new = await scene.fork(turn.run_id, checkpoint_id=checkpoint_id)

    async def die(*_: object) -> None:
        raise ConnectionError("as if the process had died here")

    for place in ("graphs.forking.was_edited", "graphs.run.commit_run"):
        with monkeypatch.context() as patched:
            patched.setattr(place, die)
            await scene.advance()
        await scene.let_leases_end()
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "answered"
    assert [message["run_id"] for message in await scene.sent()] == [turn.run_id, new]


async def test_a_fork_from_a_checkpoint_goes_on_from_the_edited_decision(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    before = await record_of(scene, turn.run_id)
    async with scene.asking() as connection:
        guard = next(step for step in await steps_of(connection, turn.run_id) if step["node"] == "guard")
    decision = guard["state_diff"]["decision"]
    decision["answers"][0]["text"] = "Our offices are open from 10:00 to 18:00, Monday to Saturday."
    decision["language"] = "en"
    decision["hand_off"] = "person_asked"
    new = await scene.fork(turn.run_id, checkpoint_id=guard["checkpoint_id"], values={"decision": decision})
    await scene.advance()
    row = await scene.run(new)
    assert (row["state"], row["outcome"], row["error"]) == ("succeeded", "handed_off", None)
    assert await scene.nodes(new) == ["emit"]
    assert await scene.owner() == "awaiting_person"
    assert len(await scene.sent()) == 2
    assert await record_of(scene, turn.run_id) == before
    found = await scene.compared(turn.run_id, new)
    assert [(step.node, step.verdict) for step in found.steps] == [("emit", "differs")]
    assert (found.decision.same, found.effects.same) == (False, False)
    assert found.decision.repeated["hand_off"] == "person_asked"


async def test_a_fork_from_a_checkpoint_with_nothing_edited_is_the_same_from_there_on(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    new = await scene.fork(turn.run_id, checkpoint_id=await scene.checkpoint_after(turn.run_id, "recall"), dry_run=True)
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "dry_run"
    found = await scene.compared(turn.run_id, new)
    assert found.same
    assert [step.node for step in found.steps] == ["triage", "model", "reply", "guard", "emit"]
    assert len(await scene.sent()) == 1


async def test_a_replay_of_a_turn_does_the_same_and_nothing_of_it_leaves(scene: Operated) -> None:
    turn = await scene.answered("office timings, and the 80G receipt?")
    before = await scene.everything()
    new = await scene.replay(turn.run_id)
    await scene.advance()
    row = await scene.run(new)
    assert (row["kind"], row["state"], row["outcome"], row["dry_run"]) == ("replay", "succeeded", "dry_run", True)
    assert row["prompt_refs"] == (await scene.run(turn.run_id))["prompt_refs"]
    assert [effect["kind"] for effect in row["effects"]] == ["send"]
    found = await scene.compared(turn.run_id, new)
    assert found.same, [step for step in found.steps if step.verdict != "same"]
    after = await scene.everything()
    for table in ("effects", "messages", "conversations"):
        assert after[table] == before[table]
    (kept,) = await scene.rows("SELECT run_id, kind, state, requested_by, result FROM core.run_commands")
    assert kept == {
        "run_id": turn.run_id, "kind": "replay", "state": "done", "requested_by": BY, "result": {"run_id": new}
    }  # fmt: skip


async def test_a_replay_with_the_prompts_of_today_pins_those(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    await scene.rows(
        'UPDATE core.runs SET prompt_refs = prompt_refs || \'{"old/one": "1@0"}\' WHERE id = %s RETURNING 1',
        turn.run_id,
    )
    recorded, current = await scene.replay(turn.run_id), await scene.replay(turn.run_id, prompts="current")
    await scene.advance()
    assert "old/one" in (await scene.run(recorded))["prompt_refs"]
    assert (await scene.run(current))["prompt_refs"] == scene.runtime.pins.prompt_refs


async def test_a_replay_of_a_run_that_was_answered_gets_the_same_answer(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    async with scene.asking() as connection:
        await resume(connection, waiting.run_id, answer={"action": "reply", "text": "Forty-two."}, by=BY)
    await scene.advance()
    sent = await scene.sent()
    new = await scene.replay(waiting.run_id)
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "dry_run"
    assert (await scene.compared(waiting.run_id, new)).same
    assert await scene.sent() == sent


async def test_a_fork_with_another_answer_of_a_person_says_that_one(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    async with scene.asking() as connection:
        await resume(connection, waiting.run_id, answer={"action": "leave"}, by=BY)
    await scene.advance()
    values = {"answer": {"action": "reply", "text": "Forty-two."}}
    new = await scene.fork(
        waiting.run_id, checkpoint_id=await scene.checkpoint_after(waiting.run_id, "wait"), values=values
    )
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "answered"
    assert (await scene.sent())[-1]["text"] == "Forty-two."


async def test_a_fork_of_a_run_that_asked_asks_again(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    new = await scene.fork(waiting.run_id)
    await scene.advance()
    row = await scene.run(new)
    assert (row["state"], [question["slot"] for question in row["interrupts"]]) == ("waiting", ["answer"])
    async with scene.asking() as connection:
        await resume(connection, new, answer={"action": "reply", "text": "Forty-two."}, by=BY)
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "answered"
    assert (await scene.run(waiting.run_id))["state"] == "waiting"


async def test_the_second_life_of_a_fork_begins_where_the_fork_began(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    decision = {
        "action": "thank", "answers": [], "choices": [], "hand_off": None, "unanswered": [], "language": "en"
    }  # fmt: skip
    first = await scene.fork(
        turn.run_id,
        checkpoint_id=await scene.checkpoint_after(turn.run_id, "guard"), values={"decision": decision},
    )  # fmt: skip
    await scene.advance()
    again, replica = await scene.fork(first, dry_run=True), await scene.replay(first)
    await scene.advance()
    for run_id in (again, replica):
        assert (await scene.run(run_id))["outcome"] == "dry_run"
        assert (await scene.compared(first, run_id)).same
        assert [
            step["node"] for step in await scene.rows("SELECT node FROM core.run_steps WHERE run_id = %s", run_id)
        ] == ["emit"]
    before = await scene.everything()
    with pytest.raises(Conflict, match="began at a checkpoint"):
        await scene.replay(first, prompts="current")
    assert await scene.everything() == before


async def test_a_replay_does_not_hold_up_its_conversation(scene: Operated) -> None:
    sender = await scene.hear("office timings")
    (turn,) = await scene.advance()
    new = await scene.replay(turn.run_id)
    held = await scene.claim()
    assert held is not None
    assert held.run_id == new
    await scene.hear("and the 80G receipt?", sender=sender)
    (answered,) = await scene.advance()
    assert (await scene.run(answered.run_id))["outcome"] == "answered"
    assert (await scene.run(new))["state"] == "running"


async def test_a_fork_at_the_checkpoint_of_its_input_begins_at_the_start(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    (first,) = await scene.rows(
        "SELECT checkpoint_id FROM checkpoints WHERE checkpoint_ns = '' AND metadata->>'source' = 'input'"
    )
    new = await scene.fork(turn.run_id, checkpoint_id=first["checkpoint_id"])
    await scene.advance()
    row = await scene.run(new)
    assert (row["origin"]["checkpoint_id"], row["state"], row["outcome"]) == (None, "succeeded", "answered")


async def test_where_a_run_had_ended_nothing_can_be_forked(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    before = await scene.everything()
    with pytest.raises(Conflict, match="had ended at checkpoint"):
        await scene.fork(turn.run_id, checkpoint_id=await scene.checkpoint_after(turn.run_id, "emit"))
    assert await scene.everything() == before
