"""A question that was left to a person: it waits, is answered once, and silence is an answer too."""

from typing import Any

import pytest

from checkpoints.operations import commands_of, find_run, open_questions
from core.errors import Conflict, RequestInvalid
from core.ids import CommandId
from db.transactions import tenant_tx
from graphs.commands import resume
from graphs.inspection import answer_schema
from graphs.run_claim import ClaimedRun
from tests.graphs.operated import Operated

WORDS = "Forty-two, says our colleague."
REPLY = {"action": "reply", "text": WORDS}


async def answer(scene: Operated, run: ClaimedRun, given: object, *, interrupt_id: str | None = None) -> CommandId:
    async with tenant_tx(scene.database, scene.tenant_id, commit="test") as connection:
        return await resume(connection, run.run_id, answer=given, interrupt_id=interrupt_id, by="a person")


async def questions(scene: Operated, run: ClaimedRun) -> list[Any]:
    async with tenant_tx(scene.database, scene.tenant_id, commit="test") as connection:
        return open_questions(await find_run(connection, run.run_id), await commands_of(connection, run.run_id))


async def test_a_hand_off_waits_with_its_question_and_holds_no_lease(scene: Operated) -> None:
    turn, waiting = await scene.handed_off()
    row = await scene.run(waiting.run_id)
    assert (row["kind"], row["outcome"], row["parent_id"]) == ("hand_off", "waiting", turn.run_id)
    assert row["lease_until"] is None
    (question,) = await questions(scene, waiting)
    assert (question["slot"], question["asks"]) == ("answer", "person")
    assert question["question"]["reason"] == "not_in_knowledge"
    assert "What is the meaning of life?" in question["question"]["summary"]
    assert await scene.owner() == "awaiting_person"
    schema = answer_schema("hand_off", "answer")
    assert schema is not None
    assert schema["discriminator"]["propertyName"] == "action"
    assert await scene.advance() == []


async def test_a_reply_reaches_the_contact_as_a_persons_words_and_the_agent_answers_again(scene: Operated) -> None:
    sender = await scene.hear("What is the meaning of life?")
    _, waiting = await scene.advance()
    command = await answer(scene, waiting, REPLY)
    assert await questions(scene, waiting) == []
    (run,) = await scene.advance()
    assert run.run_id == waiting.run_id
    row = await scene.run(waiting.run_id)
    assert (row["state"], row["outcome"], row["interrupts"]) == ("succeeded", "answered", [])
    assert (await scene.sent())[-1] == {
        "text": WORDS, "author": "human", "status": "queued", "run_id": waiting.run_id
    }  # fmt: skip
    assert await scene.owner() == "agent"
    (kept,) = await scene.rows("SELECT id, state, requested_by, payload FROM core.run_commands")
    assert kept == {
        "id": command, "state": "done", "requested_by": "a person", "payload": {"slot": "answer", "answer": REPLY}
    }  # fmt: skip
    await scene.hear("office timings", sender=sender)
    assert len(await scene.advance()) == 1
    assert "10:00 to 18:00" in (await scene.sent())[-1]["text"]


async def test_handing_back_says_nothing_and_lets_the_agent_answer(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    said = await scene.sent()
    await answer(scene, waiting, {"action": "hand_back"})
    await scene.advance()
    assert (await scene.run(waiting.run_id))["state"] == "succeeded"
    assert await scene.sent() == said
    assert await scene.owner() == "agent"


async def test_leaving_it_changes_nothing(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    said = await scene.sent()
    await answer(scene, waiting, {"action": "leave"})
    await scene.advance()
    row = await scene.run(waiting.run_id)
    assert (row["state"], row["outcome"]) == ("succeeded", "silent")
    assert await scene.sent() == said
    assert await scene.owner() == "awaiting_person"


async def test_silence_is_the_default_answer_once_its_time_is_over(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    await scene.rows(
        """UPDATE core.runs SET due_at = clock_timestamp() - interval '1 s',
             waits_for = jsonb_build_object('until', clock_timestamp() - interval '1 s')
           WHERE id = %s RETURNING 1""",
        waiting.run_id,
    )
    # The claim that finds it overdue only lets it go on.
    await scene.claim()
    (run,) = await scene.advance()
    assert run.run_id == waiting.run_id
    assert (await scene.run(waiting.run_id))["state"] == "succeeded"
    (kept,) = await scene.rows("SELECT requested_by, payload, state FROM core.run_commands")
    assert kept == {
        "requested_by": "timeout", "payload": {"slot": "answer", "answer": {"action": "leave"}}, "state": "done"
    }  # fmt: skip
    assert await scene.owner() == "awaiting_person"


async def test_a_person_who_answers_when_the_time_is_over_but_nobody_took_it_up_is_heard(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    await scene.rows(
        """UPDATE core.runs SET state = 'queued', due_at = clock_timestamp(),
             waits_for = jsonb_build_object('until', clock_timestamp() - interval '1 s')
           WHERE id = %s RETURNING 1""",
        waiting.run_id,
    )
    await answer(scene, waiting, REPLY)
    await scene.advance()
    assert (await scene.sent())[-1]["text"] == WORDS


async def test_a_person_who_took_the_conversation_over_is_not_talked_over(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    said = await scene.sent()
    await scene.rows("UPDATE conversations SET owner = 'person' RETURNING 1")
    await answer(scene, waiting, REPLY)
    await scene.advance()
    assert (await scene.run(waiting.run_id))["outcome"] == "person_took_over"
    assert await scene.sent() == said
    assert await scene.owner() == "person"


async def test_a_second_answer_is_refused_and_changes_nothing(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    (question,) = await questions(scene, waiting)
    await answer(scene, waiting, REPLY)
    before = await scene.everything()
    for interrupt_id in (None, question["id"]):
        with pytest.raises(Conflict, match="was answered already"):
            await answer(scene, waiting, {"action": "leave"}, interrupt_id=interrupt_id)
    assert await scene.everything() == before
    await scene.advance()
    before = await scene.everything()
    with pytest.raises(Conflict, match="has succeeded"):
        await answer(scene, waiting, {"action": "leave"}, interrupt_id=question["id"])
    assert await scene.everything() == before


async def test_an_answer_to_a_question_that_is_not_open_is_refused(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    before = await scene.everything()
    with pytest.raises(Conflict, match="is not open"):
        await answer(scene, waiting, REPLY, interrupt_id="0123456789abcdef")
    assert await scene.everything() == before


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, "answer: "),
        ("reply", "answer: "),
        ({}, "answer: .*'action'"),
        ({"action": "shout"}, "answer: .*'shout'"),
        ({"action": "reply"}, r"answer\.reply\.text: "),
        ({"action": "reply", "text": ""}, r"answer\.reply\.text: "),
        ({"action": "reply", "text": 7}, r"answer\.reply\.text: "),
        ({"action": "reply", "text": "x" * 4001}, r"answer\.reply\.text: "),
        ({"action": "leave", "to": "919800000001"}, r"answer\.leave\.to: "),
    ],
)
async def test_an_answer_of_the_wrong_shape_is_refused_and_named(scene: Operated, given: object, named: str) -> None:
    _, waiting = await scene.handed_off()
    before = await scene.everything()
    with pytest.raises(RequestInvalid, match=named):
        await answer(scene, waiting, given)
    assert await scene.everything() == before


async def test_an_answer_is_refused_while_another_run_is_meant(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    before = await scene.everything()
    with pytest.raises(Conflict, match="has succeeded"):
        await answer(scene, turn, REPLY)
    assert await scene.everything() == before
