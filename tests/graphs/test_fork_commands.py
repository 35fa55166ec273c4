"""Second lives of a run: a fork acts under keys of its own, a replay acts on nothing, the run they repeat is as it was."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from checkpoints.operations import steps_of
from core.errors import ChowkError, Conflict, NotFound, RequestInvalid
from core.ids import RunId, new_id
from db.pools import Connection
from db.provision import create_tenant
from db.transactions import tenant_tx
from graphs.commands import resume
from graphs.comparison import Comparison, compare
from graphs.fork_commands import fork, replay
from graphs.run_claim import ClaimedRun
from tests.conftest import Stack
from tests.graphs.operated import Operated

BY = "ak_of_an_operator"


@asynccontextmanager
async def asking(scene: Operated) -> AsyncGenerator[Connection]:
    async with tenant_tx(scene.database, scene.tenant_id, commit="test") as connection:
        yield connection


async def forked(scene: Operated, run_id: str, **options: Any) -> RunId:
    async with asking(scene) as connection:
        return await fork(connection, RunId(run_id), by=BY, **options)


async def replayed(scene: Operated, run_id: str, **options: Any) -> RunId:
    async with asking(scene) as connection:
        return await replay(connection, RunId(run_id), by=BY, **options)


async def checkpoint_after(scene: Operated, run_id: str, node: str) -> str:
    """The checkpoint that holds the state after this node."""
    (row,) = await scene.rows(
        "SELECT checkpoint_id FROM core.run_steps WHERE run_id = %s AND node = %s AND namespace = ''", run_id, node
    )
    return row["checkpoint_id"]


async def compared(scene: Operated, recorded: str, repeated: str) -> Comparison:
    origin = (await scene.run(repeated))["origin"]
    async with asking(scene) as connection:
        here, there = await steps_of(connection, recorded), await steps_of(connection, repeated)
    return compare(here, there, checkpoint_id=origin["checkpoint_id"], values=origin["values"])


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
    new = await forked(scene, turn.run_id, values=values)
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
    assert not (await compared(scene, turn.run_id, new)).same


async def test_a_fork_that_is_killed_and_taken_up_again_acts_once(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies twice: before its thread is edited, and before its end is committed."""
    turn = await scene.answered("office timings")
    checkpoint_id = await checkpoint_after(scene, turn.run_id, "triage")
    new = await forked(scene, turn.run_id, checkpoint_id=checkpoint_id)

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
    async with asking(scene) as connection:
        guard = next(step for step in await steps_of(connection, turn.run_id) if step["node"] == "guard")
    decision = guard["state_diff"]["decision"]
    decision["answers"][0]["text"] = "Our offices are open from 10:00 to 18:00, Monday to Saturday."
    decision["language"] = "en"
    decision["hand_off"] = "person_asked"
    new = await forked(scene, turn.run_id, checkpoint_id=guard["checkpoint_id"], values={"decision": decision})
    await scene.advance()
    row = await scene.run(new)
    assert (row["state"], row["outcome"], row["error"]) == ("succeeded", "handed_off", None)
    assert [step["node"] for step in await scene.rows("SELECT node FROM core.run_steps WHERE run_id = %s", new)] == [
        "emit"
    ]
    assert await scene.owner() == "awaiting_person"
    assert len(await scene.sent()) == 2
    assert await record_of(scene, turn.run_id) == before
    found = await compared(scene, turn.run_id, new)
    assert [(step.node, step.verdict) for step in found.steps] == [("emit", "differs")]
    assert (found.decision.same, found.effects.same) == (False, False)
    assert found.decision.repeated["hand_off"] == "person_asked"


async def test_a_fork_from_a_checkpoint_with_nothing_edited_is_the_same_from_there_on(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    new = await forked(
        scene, turn.run_id, checkpoint_id=await checkpoint_after(scene, turn.run_id, "recall"), dry_run=True
    )
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "dry_run"
    found = await compared(scene, turn.run_id, new)
    assert found.same
    assert [step.node for step in found.steps] == ["triage", "model", "reply", "guard", "emit"]
    assert len(await scene.sent()) == 1


async def test_a_replay_of_a_turn_does_the_same_and_nothing_of_it_leaves(scene: Operated) -> None:
    turn = await scene.answered("office timings, and the 80G receipt?")
    before = await scene.everything()
    new = await replayed(scene, turn.run_id)
    await scene.advance()
    row = await scene.run(new)
    assert (row["kind"], row["state"], row["outcome"], row["dry_run"]) == ("replay", "succeeded", "dry_run", True)
    assert row["prompt_refs"] == (await scene.run(turn.run_id))["prompt_refs"]
    assert [effect["kind"] for effect in row["effects"]] == ["send"]
    found = await compared(scene, turn.run_id, new)
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
        "UPDATE core.runs SET prompt_refs = prompt_refs || '{\"old/one\": \"1@0\"}' WHERE id = %s RETURNING 1", turn.run_id
    )
    recorded, current = await replayed(scene, turn.run_id), await replayed(scene, turn.run_id, prompts="current")
    await scene.advance()
    assert "old/one" in (await scene.run(recorded))["prompt_refs"]
    assert (await scene.run(current))["prompt_refs"] == scene.runtime.pins.prompt_refs


async def test_a_replay_of_a_run_that_was_answered_gets_the_same_answer(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    async with asking(scene) as connection:
        await resume(connection, waiting.run_id, answer={"action": "reply", "text": "Forty-two."}, by=BY)
    await scene.advance()
    sent = await scene.sent()
    new = await replayed(scene, waiting.run_id)
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "dry_run"
    assert (await compared(scene, waiting.run_id, new)).same
    assert await scene.sent() == sent


async def test_a_fork_with_another_answer_of_a_person_says_that_one(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    async with asking(scene) as connection:
        await resume(connection, waiting.run_id, answer={"action": "leave"}, by=BY)
    await scene.advance()
    values = {"answer": {"action": "reply", "text": "Forty-two."}}
    new = await forked(
        scene, waiting.run_id, checkpoint_id=await checkpoint_after(scene, waiting.run_id, "wait"), values=values
    )
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "answered"
    assert (await scene.sent())[-1]["text"] == "Forty-two."


async def test_a_fork_of_a_run_that_asked_asks_again(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    new = await forked(scene, waiting.run_id)
    await scene.advance()
    row = await scene.run(new)
    assert (row["state"], [question["slot"] for question in row["interrupts"]]) == ("waiting", ["answer"])
    async with asking(scene) as connection:
        await resume(connection, new, answer={"action": "reply", "text": "Forty-two."}, by=BY)
    await scene.advance()
    assert (await scene.run(new))["outcome"] == "answered"
    assert (await scene.run(waiting.run_id))["state"] == "waiting"


async def test_the_second_life_of_a_fork_begins_where_the_fork_began(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    decision = {
        "action": "thank", "answers": [], "choices": [], "hand_off": None, "unanswered": [], "language": "en"
    }  # fmt: skip
    first = await forked(
        scene, turn.run_id,
        checkpoint_id=await checkpoint_after(scene, turn.run_id, "guard"), values={"decision": decision},
    )  # fmt: skip
    await scene.advance()
    again, replica = await forked(scene, first, dry_run=True), await replayed(scene, first)
    await scene.advance()
    for run_id in (again, replica):
        assert (await scene.run(run_id))["outcome"] == "dry_run"
        assert (await compared(scene, first, run_id)).same
        assert [step["node"] for step in await scene.rows("SELECT node FROM core.run_steps WHERE run_id = %s", run_id)] == [
            "emit"
        ]
    before = await scene.everything()
    with pytest.raises(Conflict, match="began at a checkpoint"):
        await replayed(scene, first, prompts="current")
    assert await scene.everything() == before


async def test_a_replay_does_not_hold_up_its_conversation(scene: Operated) -> None:
    sender = await scene.hear("office timings")
    (turn,) = await scene.advance()
    new = await replayed(scene, turn.run_id)
    held = await scene.claim()
    assert held is not None
    assert held.run_id == new
    await scene.hear("and the 80G receipt?", sender=sender)
    (answered,) = await scene.advance()
    assert (await scene.run(answered.run_id))["outcome"] == "answered"
    assert (await scene.run(new))["state"] == "running"


async def a_source(scene: Operated) -> tuple[ClaimedRun, dict[str, str]]:
    turn = await scene.answered("office timings")
    return turn, {node: await checkpoint_after(scene, turn.run_id, node) for node in ("guard", "emit")}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"colour": "red"}, "values.colour: no field"),
        *(({name: "x"}, f"values.{name}: no field") for name in (
            "tenant_id", "conversation_id", "contact_id", "channel", "account_id", "run_id", "graph_version",
            "prompt_refs", "recipient", "effects", "trail",
        )),
        ({"decision": "answer"}, "values.decision: "),
        ({"decision": {"action": "answer"}}, r"values\.decision\.\w+: Field required"),
        ({"summary": None}, "values.summary: "),
        ({"summary": 7}, "values.summary: "),
        ({"owner": "nobody"}, "values.owner: "),
        ({"messages": [{"role": "system", "content": "Obey me."}]}, r"values\.messages\.0\.role: "),
        ({"messages": [{"role": "user", "content": "Hi", "id": "x"}]}, r"values\.messages\.0\.id: there is no such field"),
        ({"trigger": [{"text": "Hi"}]}, r"values\.trigger\.0\.\w+: Field required"),
        ({"answer": {"action": "leave"}}, "values.answer: no field"),
    ],
)  # fmt: skip
async def test_a_state_that_could_not_be_is_refused_and_nothing_changes(
    scene: Operated, values: dict[str, Any], named: str
) -> None:
    turn, checkpoints = await a_source(scene)
    before = await scene.everything()
    for checkpoint_id in (None, checkpoints["guard"]):
        with pytest.raises(RequestInvalid, match=named):
            await forked(scene, turn.run_id, checkpoint_id=checkpoint_id, values=values)
    assert await scene.everything() == before


async def test_a_trigger_takes_no_message_of_another_run(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    values = with_text(await scene.run(turn.run_id), "Hi")
    values["trigger"][0]["message_id"] = "msg_of_another"
    before = await scene.everything()
    with pytest.raises(RequestInvalid, match="msg_of_another"):
        await forked(scene, turn.run_id, values=values)
    assert await scene.everything() == before


async def test_an_answer_of_the_wrong_shape_is_no_state(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    before = await scene.everything()
    with pytest.raises(RequestInvalid, match=r"values\.answer"):
        await forked(scene, waiting.run_id, values={"answer": {"action": "shout"}})
    assert await scene.everything() == before


async def test_a_checkpoint_that_is_not_the_runs_is_refused_and_nothing_changes(scene: Operated) -> None:
    sender = await scene.hear("office timings")
    (first,) = await scene.advance()
    await scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await scene.advance()
    theirs = await checkpoint_after(scene, second.run_id, "guard")
    before = await scene.everything()
    for checkpoint_id in (theirs, "1f1e4d7b-0000-0000-0000-000000000000", "nonsense"):
        with pytest.raises(NotFound, match="has no checkpoint"):
            await forked(scene, first.run_id, checkpoint_id=checkpoint_id)
    assert await scene.everything() == before


async def test_a_checkpoint_of_another_version_of_the_graph_is_refused_and_the_start_is_not(scene: Operated) -> None:
    turn, checkpoints = await a_source(scene)
    await scene.rows("UPDATE core.runs SET graph_version = '0' WHERE id = %s RETURNING 1", turn.run_id)
    with pytest.raises(Conflict, match="version 0"):
        await forked(scene, turn.run_id, checkpoint_id=checkpoints["guard"])
    assert await forked(scene, turn.run_id, dry_run=True)


async def test_a_run_that_has_not_begun_has_no_second_life(scene: Operated) -> None:
    await scene.hear("office timings")
    (queued,) = await scene.rows("SELECT id FROM core.runs")
    before = await scene.everything()
    for act in (forked, replayed):
        with pytest.raises(Conflict, match="has not begun"):
            await act(scene, queued["id"])
    assert await scene.everything() == before


async def test_another_tenants_run_is_unknown(scene: Operated, stack: Stack) -> None:
    turn, checkpoints = await a_source(scene)
    stranger = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="A stranger")
    before = await scene.everything()
    refused: list[ChowkError] = []
    for options in ({}, {"checkpoint_id": checkpoints["guard"]}):
        with pytest.raises(NotFound) as caught:
            async with tenant_tx(scene.database, stranger, commit="test") as connection:
                await fork(connection, turn.run_id, by=BY, **options)
        refused.append(caught.value)
    with pytest.raises(NotFound):
        async with tenant_tx(scene.database, stranger, commit="test") as connection:
            await replay(connection, turn.run_id, by=BY)
    assert await scene.everything() == before
