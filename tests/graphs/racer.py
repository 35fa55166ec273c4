"""A worker that races with another for one tenant's conversations: `python -m tests.graphs.racer <tenant id>`.

Works until its standard input is closed and nothing is left to do.
"""

import asyncio
import sys

from langgraph.runtime import RunControl

from core.crypto import Sealer
from core.ids import TenantId
from core.settings import DatabaseSettings, SecretSettings, load
from db.pools import open_database
from graphs.run import run_claimed
from graphs.run_claim import claim_runs
from graphs.run_start import Pins
from graphs.runtime import RunRuntime
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from prompts.loader import prompt_refs
from tests.builders import take_in

RUNS_AT_ONCE = 4


async def race(tenant_id: TenantId) -> None:
    database = await open_database(load(DatabaseSettings), application="racer")
    sealer = Sealer(load(SecretSettings).key())
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: sys.stdin.read() or ended.set())
    idle = False
    while not (ended.is_set() and idle):
        await take_in(database, sealer)
        runs = await claim_runs(database, worker="racer", limit=RUNS_AT_ONCE)
        mine = [run for run in runs if run.tenant_id == tenant_id]
        await asyncio.gather(*(run_claimed(runtime, run, RunControl()) for run in mine))
        idle = not runs  # tenants take turns: ours may come after those that other tests left
        await asyncio.sleep(0)
    await database.close()


if __name__ == "__main__":
    asyncio.run(race(TenantId(sys.argv[1])))
