"""What a long conversation's checkpoints weigh, through the whole product but its sockets."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from bench.checkpoints import BYTES_AIM, PERIOD, QUESTIONS, _pairs, converse, growth_of
from bench.conversation import Conversation, open_conversation
from checkpoints.retention import RUNS_KEPT, prune_thread
from checkpoints.saver import tenant_saver
from core.ids import TenantId
from graphs.conversation import build_conversation_graph
from tests.builders import rows
from tests.conftest import Stack
from worker.runtime import open_runtime

TURNS = 100
#: After so many turns the same questions meet the same moment between two prunes.
ROUND = PERIOD * len(QUESTIONS)


@pytest.fixture
async def conversation(stack: Stack, tenant: TenantId) -> AsyncIterator[Conversation]:
    runtime = await open_runtime()
    async with open_conversation(runtime, stack.admin_url, tenant) as opened:
        yield opened
    await runtime.close()


def heaviest(weights: Sequence[dict[str, int]]) -> int:
    return max(weight["bytes_before_jobs"] for weight in weights)


async def history(conversation: Conversation) -> dict[str, Any]:
    """Every checkpoint of the thread as the graph reads it."""
    saver = tenant_saver(conversation.runtime.database, conversation.tenant_id)
    graph = build_conversation_graph(saver)
    config: Any = {"configurable": {"thread_id": await conversation.id()}}
    found = {
        snapshot.config["configurable"]["checkpoint_id"]: (snapshot.values, snapshot.next)
        async for snapshot in graph.aget_state_history(config)
    }
    for checkpoint_id, (values, _) in found.items():
        config["configurable"]["checkpoint_id"] = checkpoint_id
        assert (await graph.aget_state(config)).values == values
    return found


async def test_a_conversation_of_a_hundred_turns_weighs_little_and_no_more_than_one_of_sixty(
    conversation: Conversation,
) -> None:
    weights = await converse(conversation, TURNS)
    runs = await rows(
        conversation.runtime.database, conversation.tenant_id,
        "SELECT id, state, outcome FROM core.runs ORDER BY created_at",
    )  # fmt: skip
    assert {(run["state"], run["outcome"]) for run in runs} == {("succeeded", "answered")}
    assert len(runs) == TURNS
    assert heaviest(weights) <= BYTES_AIM
    assert abs(heaviest(weights[60 - ROUND : 60]) - heaviest(weights[-ROUND:])) <= 0.05 * heaviest(weights[-ROUND:])

    before = await history(conversation)
    await prune_thread(conversation.runtime.database, conversation.tenant_id, await conversation.id())
    after = await history(conversation)
    assert {checkpoint_id: before[checkpoint_id] for checkpoint_id in after} == after
    assert next(iter(after)) == next(iter(before))
    kept = {run["id"] for run in runs[-RUNS_KEPT:]}
    # The first checkpoint of a run still holds what the run before it left.
    assert {values["run_id"] for values, following in after.values() if following != ("__start__",)} == kept


def test_growth_is_measured_over_whole_periods() -> None:
    saw = [{"bytes": 100 * (turn % PERIOD) + 7 * turn} for turn in range(100)]
    assert growth_of(saw, 50, 100) == 7


def test_the_peer_is_given_each_message_with_the_words_that_follow_it() -> None:
    transcript = [("contact", "one"), ("agent", "reply"), ("agent", "more"), ("contact", "two"), ("contact", "three")]
    assert _pairs(transcript) == [("one", "reply\nmore"), ("two", ""), ("three", "")]
