"""A run that was interrupted goes on where it stopped: no model is asked twice, no search is made twice."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from core.errors import NotDurable
from core.ids import TenantId
from db.pools import Database
from db.transactions import queue_tx
from graphs.conversation import build_conversation_graph
from graphs.state import graph_input
from memory.knowledge import Passage
from models.chat import ModelUnavailable
from models.offline.chat import OfflineChatModel
from prompts.loader import parse_prompt, prompt_refs, prompts
from tests.graphs.turns import FixedKnowledge, a_context, a_turn, hand_off_reason, run_turn, said

LEANING = a_turn(
    "how long does it take?",
    given=[("user", "Can I get a refund of a donation made by mistake?"), ("assistant", "Yes.")],
)


class CountingModel(OfflineChatModel):
    """The offline model, which remembers for which schema it was asked, and fails when told to."""

    asked: list[str] = []  # noqa: RUF012  # pydantic copies it for each model
    fail_on: list[int] = []  # noqa: RUF012

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        self.asked.append("triage" if "TriageDecision" in kwargs["bound"] else "reply")
        if len(self.asked) in self.fail_on:
            raise ModelUnavailable("the model is away")
        return await super()._agenerate(messages, stop, run_manager, **kwargs)


class BrokenOnce(FixedKnowledge):
    """Fails at one search, as a database does that is restarted."""

    def __init__(self, fail_on: int) -> None:
        super().__init__()
        self.fail_on = fail_on

    async def search(self, queries: Sequence[str], *, language: str, limit: int) -> list[list[Passage]]:
        found = await super().search(queries, language=language, limit=limit)
        if len(self.asked) == self.fail_on:
            raise NotDurable("the database is being restarted")
        return found


async def test_an_agent_that_was_killed_in_its_tool_is_not_asked_again() -> None:
    """The nested agent's first step is checkpointed too: on resume only the tool runs again."""
    model, saver = CountingModel(), InMemorySaver()
    context = a_context(model, BrokenOnce(fail_on=2))
    with pytest.raises(NotDurable):
        await run_turn(LEANING, context, saver=saver)
    assert model.asked == ["triage", "reply"]
    state = await run_turn(LEANING, context, saver=saver)
    assert model.asked == ["triage", "reply", "reply"]
    assert "Source: Refund of a donation" in said(state)
    assert [entry["node"] for entry in state["trail"]] == ["recall", "triage", "reply", "guard", "emit"]


async def test_a_search_that_was_made_is_not_made_again() -> None:
    """The model fails on both attempts of the reply step only after the search: a second run repeats neither."""
    saver, knowledge = InMemorySaver(), FixedKnowledge()

    class Crash(CountingModel):
        async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
            if "ReplyDecision" in kwargs["bound"] and not self.asked.count("crashed"):
                self.asked.append("crashed")
                raise KeyError("a defect of ours")
            return await super()._agenerate(messages, *args, **kwargs)

    context = a_context(Crash(), knowledge)
    turn = a_turn("Can I get a tax receipt?")
    with pytest.raises(KeyError):
        await run_turn(turn, context, saver=saver)
    state = await run_turn(turn, context, saver=saver)
    assert len(knowledge.asked) == 1
    assert context.chat_model.asked == ["triage", "crashed", "reply"]  # type: ignore[attr-defined]
    assert "Source: Tax receipts" in said(state)


async def test_a_drained_run_goes_on_where_it_stopped() -> None:
    model, saver, control = CountingModel(), InMemorySaver(), RunControl()
    context = a_context(model)
    config: Any = {"configurable": {"thread_id": "cnv"}, "metadata": {"run_id": context.run_id}}
    seen: list[str] = []

    async def run_until_drained() -> None:
        async for _, update in build_conversation_graph(saver).astream(
            graph_input(LEANING), config, context=context,
            stream_mode="updates", subgraphs=True, durability="sync", control=control,
        ):  # fmt: skip
            seen.extend(update)
            if "model" in update:
                control.request_drain("SIGTERM")

    with pytest.raises(GraphDrained):
        await run_until_drained()
    assert seen[:3] == ["recall", "triage", "model"]
    assert "reply" not in seen
    state = await run_turn(LEANING, context, saver=saver)
    assert model.asked == ["triage", "reply", "reply"]
    assert "Source: Refund of a donation" in said(state)


async def test_a_finished_run_that_is_given_again_does_nothing_and_says_the_same() -> None:
    model, saver = CountingModel(), InMemorySaver()
    context = a_context(model)
    first = await run_turn(a_turn("Can I get a tax receipt?"), context, saver=saver)
    again = await run_turn(a_turn("Can I get a tax receipt?"), context, saver=saver)
    assert again["effects"] == first["effects"]
    assert model.asked == ["triage", "reply"]


async def test_the_next_turn_on_the_thread_begins_clean() -> None:
    saver = InMemorySaver()
    await run_turn(a_turn("What is the meaning of life?"), a_context(), saver=saver)
    state = await run_turn(a_turn("thanks"), a_context(), saver=saver)
    assert said(state) == "You are welcome."
    assert hand_off_reason(state) is None
    assert state["draft"] is None
    assert [entry["node"] for entry in state["trail"]] == ["recall", "triage", "guard", "emit"]


async def test_a_model_that_is_away_for_a_moment_is_asked_again() -> None:
    model = CountingModel(fail_on=[2])
    state = await run_turn(a_turn("Can I get a tax receipt?"), a_context(model))
    assert model.asked == ["triage", "reply", "reply"]
    assert "Source: Tax receipts" in said(state)


@pytest.mark.parametrize("fail_on", [[1, 2], [2, 3]])
async def test_a_model_that_stays_away_is_a_hand_off(fail_on: list[int]) -> None:
    state = await run_turn(a_turn("Can I get a tax receipt?"), a_context(CountingModel(fail_on=fail_on)))
    assert hand_off_reason(state) == "model_unavailable"
    assert "a person will reply" in said(state)


async def test_a_run_goes_on_with_the_prompt_it_began_with(database: Database, tenant: TenantId) -> None:
    """The file has changed since the run began: the model still reads the words that were pinned."""
    current = prompts()["reply/answer"]
    text = current.text.replace(f"version: {current.head.version}", "version: 0.0.1")
    older = parse_prompt(text.replace("You answer people", "You once answered people"), prompt_id="reply/answer")
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "INSERT INTO core.prompt_texts (sha256, id, version, text) VALUES (%s, %s, %s, %s)",
            (older.sha256, older.head.id, older.head.version, older.text),
        )
    read: list[str] = []

    class Reading(CountingModel):
        async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            read.append(str(messages[0].text))
            return await super()._agenerate(messages, *args, **kwargs)

    context = replace(a_context(Reading()), database=database, tenant_id=tenant)
    pinned = {**prompt_refs(), "reply/answer": older.ref}
    state = await run_turn(a_turn("Can I get a tax receipt?", prompt_refs=pinned), context)
    assert read[1].startswith("You once answered people who write to Asha Foundation.")
    assert "Source: Tax receipts" in said(state)
    assert state["trail"][2]["report"]["prompt_ref"] == older.ref
