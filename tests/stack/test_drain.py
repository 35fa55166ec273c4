"""A worker is asked to stop in the middle of a turn: it lets go of it at a step boundary, and another ends it."""

from core.crypto import Sealer
from tests.eventually import eventually
from tests.stack.held_turn import HeldTurn
from tests.worker.a_worker import STOP_S, Worker, a_worker, nobody_listens

#: Whoever had to wait for the end of this lease would wait longer than any test.
LEASE_S = "600"


async def drains(worker: Worker) -> None:
    """Return once everything that the worker does was asked to come to an end."""

    async def it_does() -> bool:
        return "loop_drains" in worker.log.read_text()

    await eventually(it_does)


async def is_ended_by_another(turn: HeldTurn) -> None:
    """Start another worker, which finds the turn free and ends it."""
    with a_worker(redis_url=nobody_listens(), graph_url=turn.provider.url, **turn.model.settings()) as other:
        await turn.ends()
        assert other.stop() == 0
    run = await turn.run()
    assert (run["outcome"], run["attempts"]) == ("answered", 1)
    assert await turn.steps() == [("recall", 1), ("triage", 1), ("guard", 1), ("emit", 1)]
    assert len(turn.replies()) == 1


async def test_a_stopping_worker_ends_the_step_it_is_at_and_another_takes_the_next_without_waiting(
    turn: HeldTurn, sealer: Sealer
) -> None:
    settings = turn.model.settings() | {"graph_url": turn.provider.url, "CHOWK_TURN_LEASE_S": LEASE_S}
    with a_worker(redis_url=nobody_listens(), **settings) as worker:
        await eventually(worker.is_ready)
        await turn.begin(sealer)
        worker.process.terminate()
        await drains(worker)
        turn.model.may_answer.set()
        assert worker.process.wait(STOP_S) == 0
    assert await turn.steps() == [("recall", 1), ("triage", 1)]
    run = await turn.run()
    assert (run["state"], run["attempts"], run["leased"]) == ("running", 0, False)
    assert turn.replies() == []
    await is_ended_by_another(turn)
    assert len(turn.model.callers) == 1


async def test_a_stopping_worker_hands_back_a_turn_whose_step_does_not_end_in_time(
    turn: HeldTurn, sealer: Sealer
) -> None:
    settings = turn.model.settings() | {"graph_url": turn.provider.url, "CHOWK_TURN_LEASE_S": LEASE_S}
    with a_worker(redis_url=nobody_listens(), CHOWK_DRAIN_S="0.5", **settings) as worker:
        await eventually(worker.is_ready)
        await turn.begin(sealer)
        worker.process.terminate()
        assert worker.process.wait(STOP_S) == 0
    assert await turn.steps() == [("recall", 1)]
    run = await turn.run()
    assert (run["state"], run["attempts"], run["leased"]) == ("running", 0, False)
    turn.model.may_answer.set()
    await is_ended_by_another(turn)
    assert len(turn.model.callers) == 2
