"""A worker is killed in the middle of a turn; another one goes on with it where it was interrupted."""

import asyncio
from contextlib import ExitStack

from core.crypto import Sealer
from sandbox.reaper import kill_tree
from tests.eventually import eventually
from tests.stack.held_turn import HeldTurn
from tests.worker.a_worker import a_worker, nobody_listens


async def test_a_turn_whose_worker_was_killed_goes_on_at_the_interrupted_step_in_another_and_is_answered_once(
    turn: HeldTurn, sealer: Sealer
) -> None:
    with ExitStack() as running:
        settings = turn.model.settings() | {"graph_url": turn.provider.url}
        workers = [running.enter_context(a_worker(redis_url=nobody_listens(), **settings)) for _ in range(2)]
        await asyncio.gather(*(eventually(worker.is_ready) for worker in workers))
        await turn.begin(sealer)
        before, taken = await turn.run(), await turn.steps()
        assert taken == [("recall", 1)]
        killed = turn.caller(workers)
        kill_tree(killed.process.pid)
        killed.process.wait()
        turn.model.may_answer.set()
        await turn.ends()
        (survivor,) = [worker for worker in workers if worker is not killed]
        assert survivor.stop() == 0
    after = await turn.run()
    assert (after["id"], after["outcome"], after["attempts"]) == (before["id"], "answered", 2)
    assert after["worker"] != before["worker"]
    assert await turn.steps() == [("recall", 1), ("triage", 2), ("guard", 2), ("emit", 2)]
    assert len(turn.model.callers) == 2
    assert len(turn.replies()) == 1
