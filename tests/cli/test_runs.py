"""Runs on the command line, over the real machinery."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.actor import actor
from core.crypto import Sealer
from db.pools import Database
from tests.cli.test_main import chowk, refused
from tests.conftest import Stack
from tests.graphs.operated import Operated, operated


@pytest.fixture
async def scene(stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[Operated]:
    async with operated(stack, database, sealer) as made:
        yield made


async def said(*arguments: str) -> str:
    """What `chowk runs …` prints; it must succeed."""
    return await asyncio.to_thread(chowk, "runs", *arguments)


async def told(*arguments: str) -> Any:
    """The same as JSON."""
    return json.loads(await said(*arguments, "--json"))


async def told_off(*arguments: str) -> str:
    """The one line with which `chowk runs …` refuses."""
    return await asyncio.to_thread(refused, "runs", *arguments)


async def slug_of(scene: Operated) -> str:
    (tenant,) = await scene.rows("SELECT slug FROM core.tenants")
    return tenant["slug"]


async def test_runs_are_listed_and_filtered(scene: Operated) -> None:
    turn, waiting = await scene.handed_off()
    slug = await slug_of(scene)
    listed = await told("list", "--tenant", slug)
    assert [(run["id"], run["state"], run["tenant"]) for run in listed] == [
        (waiting.run_id, "waiting", slug), (turn.run_id, "succeeded", slug)
    ]  # fmt: skip
    assert waiting.run_id in await said("list", "--tenant", slug)
    for filters, found in (
        (("--state", "succeeded", "--state", "dead"), [turn.run_id]),
        (("--kind", "hand_off"), [waiting.run_id]),
        (("--conversation", turn.conversation_id, "--limit", "1"), [waiting.run_id]),
        (("--kind", "replay"), []),
    ):
        assert [run["id"] for run in await told("list", "--tenant", slug, *filters)] == found
    assert "no-such" in await told_off("list", "--tenant", "no-such")


async def test_without_a_tenant_runs_of_all_are_listed_the_newest_first(scene: Operated) -> None:
    turn, waiting = await scene.handed_off()
    listed = await told("list", "--limit", "2")
    assert [run["id"] for run in listed] == [waiting.run_id, turn.run_id]
    assert {run["tenant"] for run in listed} == {await slug_of(scene)}
    by_conversation = await told("list", "--conversation", turn.conversation_id, "--kind", "turn")
    assert [run["id"] for run in by_conversation] == [turn.run_id]


async def test_a_run_is_shown_as_a_timeline(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    shown = await said("show", turn.run_id)
    lines = shown.splitlines()
    assert lines[0] == f"{turn.run_id}  turn of {turn.conversation_id} in tenant {await slug_of(scene)}"
    assert "state     succeeded (answered), attempts 1" in lines
    triage = next(line for line in lines if " triage " in line)
    assert triage.split()[:3] == ["1", "triage", "agent:triage"]
    assert await scene.checkpoint_after(turn.run_id, "triage") in triage
    assert any("reply/model" in line for line in lines)
    assert any(line.strip().startswith('decision: {"action": "answer"') for line in lines)
    assert max(len(line) for line in lines) < 140
    run = await told("show", turn.run_id)
    assert [step["node"] for step in run["steps"]] == ["recall", "triage", "model", "reply", "guard", "emit"]
    await scene.rows("UPDATE core.runs SET checkpoints_kept = false RETURNING 1")
    assert await scene.checkpoint_after(turn.run_id, "triage") not in await said("show", turn.run_id)


async def test_a_failed_step_is_shown_with_its_error(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    await scene.rows("UPDATE core.runs SET state = 'dead', error = E'given\\n up' RETURNING 1")
    shown = await said("show", turn.run_id)
    assert "state     dead (answered)" in shown
    assert "error     given up" in shown


async def test_a_waiting_run_says_how_to_answer_it_and_the_line_it_shows_works(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    shown = (await said("show", waiting.run_id)).splitlines()
    offered = [line.strip() for line in shown if "--answer" in line]
    assert offered == [
        f"chowk runs resume {waiting.run_id} --answer '{answer}'"
        for answer in ('{"action": "reply", "text": "…"}', '{"action": "hand_back"}', '{"action": "leave"}')
    ]
    given = offered[0].rpartition("--answer '")[2].rstrip("'").replace("…", "Forty-two, says our colleague.")
    assert f"{waiting.run_id} goes on" in await said("resume", waiting.run_id, "--answer", given)
    await scene.advance()
    assert (await scene.sent())[-1]["text"] == "Forty-two, says our colleague."
    shown = await said("show", waiting.run_id)
    assert "--answer" not in shown
    assert f"resume  {actor()}" in shown


async def test_what_is_wrong_with_an_answer_is_one_line(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    before = await scene.everything()
    for answer, named in (("yes", "--answer"), ('"\\u0000"', "U+0000"), ('{"action": "shout"}', "'shout'")):
        assert named in await told_off("resume", waiting.run_id, "--answer", answer)
    assert "is not open" in await told_off(
        "resume", waiting.run_id, "--answer", '{"action": "leave"}', "--interrupt", "stale"
    )
    for act in ("show", "resume", "cancel", "fork", "replay", "compare"):
        assert "run_0" in await told_off(act, "run_0")
    assert await scene.everything() == before


async def test_a_run_is_cancelled_once(scene: Operated) -> None:
    await scene.hear("office timings")
    (run,) = await scene.rows("SELECT id FROM core.runs")
    assert (await told("cancel", run["id"]))["run_id"] == run["id"]
    assert "cancelled already" in await told_off("cancel", run["id"])
    (command,) = await scene.rows("SELECT kind, requested_by FROM core.run_commands")
    assert command == {"kind": "cancel", "requested_by": actor()}


async def test_a_run_is_forked_with_an_edited_state_and_compared(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    decision = {
        "action": "thank", "answers": [], "choices": [], "hand_off": None, "unanswered": [], "language": "en"
    }  # fmt: skip
    checkpoint_id = await scene.checkpoint_after(turn.run_id, "guard")
    started = await told(
        "fork", turn.run_id, "--checkpoint", checkpoint_id, "--set", f"decision={json.dumps(decision)}", "--dry-run"
    )
    await scene.advance()
    shown = await said("compare", started["run_id"])
    assert "same      no" in shown
    assert "emit: differs" in shown
    assert f"repeats   {turn.run_id} from checkpoint {checkpoint_id}" in await said("show", started["run_id"])
    before = await scene.everything()
    for edit, named in (
        ("decision", "FIELD=JSON"),
        ("summary=A donor", "--set summary"),
        ("colour=1", "values.colour"),
    ):
        assert named in await told_off("fork", turn.run_id, "--set", edit)
    assert "repeats no other" in await told_off("compare", turn.run_id)
    assert await scene.everything() == before


async def test_a_replay_waits_for_its_end_and_prints_the_comparison(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = await scene.answered("office timings")
    asked = asyncio.create_task(said("replay", turn.run_id, "--wait"))
    while not asked.done():
        await scene.advance()
        await asyncio.sleep(0.02)
    shown = await asked
    assert "same      yes" in shown
    assert len(await scene.sent()) == 1
    started = await said("replay", turn.run_id, "--prompts", "current")
    assert f"repeats {turn.run_id}" in started
    monkeypatch.setattr("cli.run_records.WAIT_S", 0.1)
    assert "is a worker running?" in await told_off("replay", turn.run_id, "--wait")
