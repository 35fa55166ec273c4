"""An agent's tool acts once, wherever its process dies or sleeps, and however the model numbers its calls."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any

import pytest

from core.errors import ProviderUnclear
from core.ids import new_id
from db.pools import Database
from tests.eventually import eventually
from tests.tools.acting_agent import take_turn
from tests.tools.acting_service import ActingService
from tests.tools.held_run import HeldRun, a_held_run

#: The agent makes two calls at once, then a third.
POINTS = [
    "receipts.open.before_commit",
    "receipts.open.after_commit",
    "receipts.store.before_commit:2",
    "receipts.store.after_commit:3",
    "agent.replied",
]


async def a_process(run: HeldRun, service: ActingService, *, fault: str = "", **scene: str) -> Process:
    given = {
        "tenant_id": run.tenant_id, "run_id": run.run_id, "conversation_id": run.conversation_id, "fence": run.fence,
        "url": service.url,
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tools.acting_agent", json.dumps(given | scene),
        env=os.environ | {"CHOWK_FAULT": fault}, stdin=PIPE, stdout=PIPE,
    )  # fmt: skip


async def outcome_of(process: Process) -> Any:
    said, _ = await process.communicate()
    return json.loads(said.splitlines()[-1])  # the log comes before it


async def killed(process: Process) -> None:
    process.kill()
    await process.communicate()


async def assert_everything_was_done_once(run: HeldRun, service: ActingService, answers: list[dict[str, Any]]) -> None:
    references = [answer["artifact"] and answer["artifact"]["reference"] for answer in answers]
    assert references == ["a", None, "b", "c"]
    assert [answer["status"] for answer in answers] == ["success"] * 4
    for answer in answers[0], answers[2], answers[3]:
        assert answer["content"] == f"Pledged as {answer['artifact']['act']}."
    assert answers[1]["content"] == "3"
    assert sorted(service.acts.values()) == [1, 1, 1]
    receipts = await run.receipts()
    assert [receipt["state"] for receipt in receipts] == ["done"] * 3
    assert {receipt["key"] for receipt in receipts} == set(service.acts)


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_turn_goes_on_and_nothing_is_done_twice(
    run: HeldRun, service: ActingService, point: str
) -> None:
    process = await a_process(run, service, fault=point)
    assert await process.wait() == -signal.SIGKILL
    run = await run.taken_over()
    answers = await take_turn(run.context(), service.url)
    await assert_everything_was_done_once(run, service, answers)


async def test_a_turn_killed_between_the_act_and_its_answer_learns_the_answer(
    run: HeldRun, service: ActingService
) -> None:
    service.answering.clear()
    process = await a_process(run, service)
    await service.acts_wait(2)
    await killed(process)
    assert {receipt["state"] for receipt in await run.receipts()} == {"calling"}
    service.answering.set()
    run = await run.taken_over()
    await assert_everything_was_done_once(run, service, await take_turn(run.context(), service.url))
    assert max(service.requests.values()) == 2


async def test_a_process_that_slept_past_its_lease_changes_nothing_when_it_wakes(
    run: HeldRun, service: ActingService
) -> None:
    service.answering.clear()
    sleeper = await a_process(run, service)
    await service.acts_wait(2)
    sleeper.send_signal(signal.SIGSTOP)
    taken_over = await run.taken_over()
    service.answering.set()
    answers = await take_turn(taken_over.context(), service.url)
    before = await run.receipts()
    sleeper.send_signal(signal.SIGCONT)
    assert await outcome_of(sleeper) == "FenceLost"
    assert await run.receipts() == before
    await assert_everything_was_done_once(run, service, answers)


async def test_two_processes_that_race_make_one_call_and_get_one_answer(run: HeldRun, service: ActingService) -> None:
    key = new_id("key")
    service.answering.clear()
    racers = [await a_process(run, service, key=key) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert await racer.stdout.readline() == b"ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")

    async def both_have_asked() -> bool:
        return service.requests[key] == 2

    await eventually(both_have_asked)
    service.answering.set()
    outcomes = [await outcome_of(racer) for racer in racers]
    assert outcomes == [{"act": "act_1", "reference": "a"}] * 2
    assert service.acts == {key: 1}
    [receipt] = await run.receipts()
    assert receipt["response"] == outcomes[0]


async def test_an_unclear_outcome_is_not_told_to_the_model(run: HeldRun, service: ActingService) -> None:
    service.lose_answers = 1
    with pytest.raises(ProviderUnclear):
        await take_turn(run.context(), service.url)
    await assert_everything_was_done_once(run, service, await take_turn(run.context(), service.url))


async def test_a_refusal_is_told_to_the_model_and_stands(run: HeldRun, service: ActingService) -> None:
    service.refuse_with = 422
    answers = await take_turn(run.context(), service.url)
    assert [answer["status"] for answer in answers] == ["error", "success", "error", "error"]
    assert answers[0]["content"] == "pledge failed. Decide without it."
    service.refuse_with = 0
    assert await take_turn(run.context(), service.url, thread_id=new_id("thread")) == answers
    assert set(service.requests.values()) == {1}
    assert service.acts == {}


async def test_a_replay_answers_from_the_receipts_of_the_run_it_replays(
    run: HeldRun, service: ActingService, database: Database
) -> None:
    await take_turn(run.context(), service.url, thread_id=run.conversation_id)
    second = await a_held_run(database, run.tenant_id)  # a later turn of the same conversation, on the same thread
    answers = await take_turn(second.context(), service.url, thread_id=run.conversation_id)
    asked = service.requests.copy()
    assert len(asked) == 6
    replay = await a_held_run(database, run.tenant_id)
    context = replay.context(dry_run=True, receipts_of=second.run_id)
    assert await take_turn(context, service.url) == answers
    assert service.requests == asked
    assert await replay.receipts() == []


async def test_a_dry_run_without_receipts_says_so_and_calls_nothing(run: HeldRun, service: ActingService) -> None:
    answers = await take_turn(run.context(dry_run=True), service.url)
    assert [answer["status"] for answer in answers] == ["error", "success", "error", "error"]
    assert answers[0]["content"] == "What pledge answers is not recorded, and it is not called. Decide without it."
    assert not service.requests
    assert await run.receipts() == []


async def test_a_fork_that_acts_does_so_under_its_own_keys(
    run: HeldRun, service: ActingService, database: Database
) -> None:
    await take_turn(run.context(), service.url)
    fork = await a_held_run(database, run.tenant_id)
    answers = await take_turn(fork.context(receipts_of=run.run_id), service.url)
    assert [answer["status"] for answer in answers] == ["success"] * 4
    assert list(service.acts.values()) == [1] * 6
