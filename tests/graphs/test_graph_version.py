"""A graph that has changed since a run or a thread began: nothing is lost, and nothing is done again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, cast

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph

import graphs.registry
from db.transactions import tenant_tx
from graphs.commands import resume
from graphs.conversation import ConversationGraph
from graphs.hand_off import ANSWER, HandOffAnswer, settle, wait
from graphs.registry import RegisteredGraph
from graphs.run_claim import ClaimedRun
from graphs.state import ConversationState
from prompts.loader import prompt_refs
from tests.graphs.operated import Operated
from tests.graphs.paying import NODES, nothing, paying
from tests.tools.acting_service import ActingService
from tools.context import RunContext

REPLY = {"action": "reply", "text": "Forty-two, says our colleague."}

#: Killed when the first of three calls was answered, when all were, and when all was decided.
PLACES = ("receipts.store.after_commit", "agent.replied", "run.commit.before_commit")

BEGINNINGS = """
SELECT metadata->>'run_id' AS run_id FROM checkpoints WHERE checkpoint_ns = '' AND metadata->>'source' = 'input'
ORDER BY checkpoint_id
"""


async def killed_under_version_1(scene: Operated, service: ActingService, place: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.graphs.paying", json.dumps({"tenant_id": scene.tenant_id, "url": service.url}),
        env=os.environ | {"CHOWK_FAULT": place},
    )  # fmt: skip
    assert await process.wait() == -signal.SIGKILL
    await scene.let_leases_end()


@pytest.mark.parametrize("place", PLACES)
async def test_a_killed_run_begins_anew_under_the_next_version_and_repeats_neither_calls_nor_effects(
    scene: Operated, service: ActingService, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    sender = await scene.hear("Please pay")
    await killed_under_version_1(scene, service, place)
    (before,) = await scene.rows("SELECT id, graph_version, input FROM core.runs")
    assert before["graph_version"] == "1"
    made = dict(service.acts)
    assert made
    monkeypatch.setattr(graphs.registry, "GRAPHS", paying(service.url, "2"))
    (run,) = await scene.advance()

    row = await scene.run(run.run_id)
    assert row["id"] == before["id"]
    assert (row["state"], row["outcome"], row["attempts"], row["graph_version"]) == ("succeeded", "answered", 2, "2")
    assert row["input"] == before["input"] | {"graph_version": "2"}
    assert row["prompt_refs"] == prompt_refs()
    taken = await scene.rows(
        "SELECT node, attempt FROM core.run_steps WHERE namespace = '' AND run_id = %s ORDER BY position", row["id"]
    )
    assert [step["node"] for step in taken if step["attempt"] == 2] == list(NODES["2"])
    assert await scene.rows(BEGINNINGS) == [{"run_id": row["id"]}]

    assert sorted(service.acts.values()) == [1, 1, 1]
    assert made.items() <= service.acts.items()
    (sent,) = await scene.sent()
    assert sent["text"].startswith("Paid a: act_")
    assert await scene.rows("SELECT FROM core.effects WHERE kind = 'send'") == [{}]

    await scene.hear("And once more", sender=sender)
    (following,) = await scene.advance()
    assert await scene.nodes(following.run_id) == list(NODES["2"])
    assert len(await scene.sent()) == 2


async def test_a_thread_of_finished_turns_takes_its_next_turn_under_another_version_and_back(
    scene: Operated, service: ActingService, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await scene.hear("office timings")
    (first,) = await scene.advance()
    of_today = await scene.nodes(first.run_id)
    with monkeypatch.context() as upgraded:
        upgraded.setattr(graphs.registry, "GRAPHS", paying(service.url, "2"))
        await scene.hear("Please pay", sender=sender)
        (second,) = await scene.advance()
    await scene.hear("how do I get my receipt", sender=sender)
    (third,) = await scene.advance()

    assert first.thread_id == second.thread_id == third.thread_id
    assert await scene.nodes(second.run_id) == list(NODES["2"])
    assert await scene.nodes(third.run_id) == of_today
    assert [run["graph_version"] for run in [await scene.run(one.run_id) for one in (first, second, third)]] == [
        "1", "2", "1"
    ]  # fmt: skip
    texts = [message["text"] for message in await scene.sent()]
    assert "10:00 to 18:00" in texts[0]
    assert texts[1].startswith("Paid a: act_")
    assert "80G tax receipt" in texts[2]
    assert len(texts) == 3


def waiting_otherwise() -> Mapping[str, RegisteredGraph]:
    """Every graph, with a hand-off of other nodes, which asks the same question."""

    def build(saver: BaseCheckpointSaver[Any] | None) -> ConversationGraph:
        graph = StateGraph(ConversationState, context_schema=RunContext)
        acts: Mapping[str, Any] = {"prepare": nothing, "ask_a_person": wait, "note": nothing, "settle": settle}
        before = START
        for name, act in acts.items():
            graph.add_node(name, act)
            graph.add_edge(before, name)
            before = name
        return cast("ConversationGraph", graph.compile(checkpointer=saver, name="hand_off"))

    return {**graphs.registry.GRAPHS, "hand_off": RegisteredGraph("hand_off", "2", build, {ANSWER: HandOffAnswer})}


async def answer(scene: Operated, run: ClaimedRun) -> None:
    async with tenant_tx(scene.database, scene.tenant_id, commit="test") as connection:
        await resume(connection, run.run_id, answer=REPLY, by="a person")


@pytest.mark.parametrize("answered", ["before the upgrade", "after the upgrade"])
async def test_a_run_that_waits_under_an_older_version_gets_its_answer_and_ends(
    scene: Operated, monkeypatch: pytest.MonkeyPatch, answered: str
) -> None:
    _, waiting = await scene.handed_off()
    assert (await scene.run(waiting.run_id))["graph_version"] == "1"
    if answered == "before the upgrade":
        await answer(scene, waiting)
    monkeypatch.setattr(graphs.registry, "GRAPHS", waiting_otherwise())
    if answered == "after the upgrade":
        await answer(scene, waiting)
    (run,) = await scene.advance()
    assert run.run_id == waiting.run_id
    row = await scene.run(run.run_id)
    assert (row["state"], row["outcome"], row["graph_version"]) == ("succeeded", "answered", "2")
    assert row["interrupts"] == []
    assert (await scene.nodes(run.run_id))[-4:] == ["prepare", "ask_a_person", "note", "settle"]
    words = [message for message in await scene.sent() if message["author"] == "human"]
    assert [message["text"] for message in words] == [REPLY["text"]]
    assert await scene.owner() == "agent"
    (command,) = await scene.rows("SELECT state FROM core.run_commands")
    assert command["state"] == "done"


async def test_a_run_that_waits_under_an_older_version_takes_silence_for_an_answer(
    scene: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, waiting = await scene.handed_off()
    monkeypatch.setattr(graphs.registry, "GRAPHS", waiting_otherwise())
    await scene.rows(
        """UPDATE core.runs SET state = 'queued', due_at = clock_timestamp(),
             waits_for = jsonb_build_object('until', clock_timestamp() - interval '1 s')
           WHERE id = %s RETURNING 1""",
        waiting.run_id,
    )
    (run,) = await scene.advance()
    row = await scene.run(run.run_id)
    assert (row["state"], row["outcome"], row["graph_version"]) == ("succeeded", "silent", "2")
    (command,) = await scene.rows("SELECT requested_by, state FROM core.run_commands")
    assert (command["requested_by"], command["state"]) == ("timeout", "done")
    assert await scene.owner() == "awaiting_person"
