"""The checkpointer of one run.

A new saver per run: the library takes one lock per saver around every statement, so a shared one would make all runs
of a process wait for each other (four times slower at 2 ms to the server). A saver costs microseconds.
"""

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde import _msgpack  # pyright: ignore[reportPrivateUsage]  # the only place that tells

from core.errors import SettingInvalid
from core.ids import TenantId
from db.checkpoint_pool import TenantCheckpointPool
from db.pools import Database


def tenant_saver(database: Database, tenant_id: TenantId) -> AsyncPostgresSaver:
    """A saver that reads and writes this tenant's checkpoints. Made inside the event loop that uses it."""
    return AsyncPostgresSaver(TenantCheckpointPool(database.checkpoints, tenant_id))


def refuse_permissive_serialisation() -> None:
    """Raise unless checkpoints are read strictly: otherwise a row could make the process import and build any class.

    Raises:
        SettingInvalid: LangGraph was imported before `core`, or the variable was changed.
    """
    if not _msgpack.STRICT_MSGPACK_ENABLED:
        raise SettingInvalid("LANGGRAPH_STRICT_MSGPACK is not in force; import `core` before langgraph")
