"""One round of a worker, as a process that may be killed: `python -m tests.graphs.one_round <tenant id>`.

Takes in whatever waits, runs this tenant's turns and leaves the effects queued. `CHOWK_FAULT` names where it dies.
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


async def one_round(tenant_id: TenantId) -> None:
    database = await open_database(load(DatabaseSettings), application="one round")
    runtime = RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )
    await take_in(database, Sealer(load(SecretSettings).key()))
    while turns := await claim_runs(database, worker="one round", limit=10):
        for turn in turns:
            if turn.tenant_id == tenant_id:
                await run_claimed(runtime, turn, RunControl())
    await database.close()


if __name__ == "__main__":
    asyncio.run(one_round(TenantId(sys.argv[1])))
