"""A process is stopped in the middle of a run, sleeps past its lease, and wakes when another has ended the run."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import graphs.registry
from sandbox.process_table import read_entry
from tests.eventually import eventually
from tests.graphs.operated import Operated
from tests.graphs.paying import NODES, paying
from tests.tools.acting_service import ActingService

#: The shortest there is, in whole seconds.
LEASE_S = "1"
#: Where a process sleeps: before it made a call of which the receipt stands, after its calls were answered, when it was
#: about to store a checkpoint, and inside the commit that ends the run, with the conversation locked.
PLACES = (
    "receipts.open.after_commit:2", "agent.replied", "checkpoint.before_commit:6", "run.commit.before_commit",
)  # fmt: skip

STORED = {
    "writes": "SELECT to_jsonb(w) AS row FROM checkpoint_writes w ORDER BY 1",
    "blobs": "SELECT to_jsonb(b) AS row FROM checkpoint_blobs b ORDER BY 1",
}


@asynccontextmanager
async def a_process(scene: Operated, service: ActingService, **environment: str) -> AsyncGenerator[Process]:
    """Advances the scene's runs; stops where `CHOWK_FAULT` says."""
    order = {"tenant_id": scene.tenant_id, "url": service.url, "stops": True}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.graphs.paying", json.dumps(order), env=os.environ | environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def sleeps(process: Process) -> None:
    """Return once it is stopped."""

    async def it_does() -> bool:
        entry = read_entry(process.pid)
        assert entry is not None
        assert entry.runs, "it does not pass this place"
        return entry.state == "T"

    await eventually(it_does)


async def everything(scene: Operated) -> dict[str, list[dict[str, Any]]]:
    stored = {name: await scene.rows(query) for name, query in STORED.items()}
    return stored | await scene.everything()


@pytest.mark.parametrize("place", PLACES)
async def test_a_process_that_slept_past_its_lease_writes_nothing_when_it_wakes(
    scene: Operated, service: ActingService, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(graphs.registry, "GRAPHS", paying(service.url, "1"))
    await scene.hear("Please pay")
    async with a_process(scene, service, CHOWK_FAULT=place, CHOWK_TURN_LEASE_S=LEASE_S) as zombie:
        await sleeps(zombie)

        async def taken_over() -> bool:
            return bool(await scene.advance())

        await eventually(taken_over)
        (run,) = await scene.rows("SELECT * FROM core.runs")
        assert (run["state"], run["outcome"], run["attempts"], run["fence"]) == ("succeeded", "answered", 2, 2)
        assert await scene.nodes(run["id"]) == list(NODES["1"])
        before = await everything(scene)
        zombie.send_signal(signal.SIGCONT)
        assert await zombie.wait() == 0
        assert await everything(scene) == before
        assert sorted(service.acts.values()) == [1, 1, 1]
        (receipts,) = await scene.rows("SELECT count(*) AS n FROM core.call_receipts WHERE state = 'done'")
        assert receipts["n"] == 3
        (sent,) = await scene.sent()
        assert sent["text"].startswith("Paid a: act_")
