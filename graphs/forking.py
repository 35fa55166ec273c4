"""The first moments of a fork or a replay that begins at a checkpoint: its own thread is made to stand there."""

from langchain_core.runnables import RunnableConfig

from checkpoints.threads import copy_checkpoint, was_edited
from db.pools import Database
from db.transactions import tenant_tx
from graphs.conversation import ConversationGraph
from graphs.run_claim import ClaimedRun
from graphs.run_start import Origin


async def seed_thread(
    database: Database, run: ClaimedRun, origin: Origin, graph: ConversationGraph, config: RunnableConfig
) -> None:
    """Copy the checkpoint to the run's own thread and edit the state there, unless that was done before.

    What comes next follows from the edited state, as if the last node before the checkpoint had written the edit.
    """
    checkpoint_id = origin.checkpoint_id
    assert checkpoint_id is not None
    async with tenant_tx(database, run.tenant_id, commit="run.seed") as connection:
        await copy_checkpoint(
            connection, from_thread_id=origin.thread_id, checkpoint_id=checkpoint_id,
            thread_id=run.thread_id, run_id=run.run_id,
        )  # fmt: skip
        edited = await was_edited(connection, run.thread_id)
    if not edited:
        await graph.aupdate_state(config, {**origin.values, "run_id": run.run_id})
