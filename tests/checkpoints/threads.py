"""Threads with runs and checkpoints: a small graph with an agent nested in it, and the runs' rows beside it."""

import asyncio
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from psycopg.types.json import Jsonb
from typing_extensions import TypedDict

from core.ids import ConversationId, RunId, TenantId, new_id
from db.checkpoint_pool import TenantCheckpointPool
from db.pools import Database
from db.transactions import tenant_tx
from tests.builders import rows

#: Checkpoints that one turn of the graph leaves at the top: input, start, and one behind each of three steps.
CHECKPOINTS_PER_RUN = 5


class Talk(TypedDict):
    said: str
    #: Adds up over all turns, so that a turn needs what the turns before it stored.
    log: Annotated[list[str], operator.add]
    draft: dict[str, Any]


class Thought(TypedDict):
    words: Annotated[list[str], operator.add]


def _agent() -> CompiledStateGraph[Any, Any, Any, Any]:
    async def model(state: Thought) -> dict[str, Any]:
        return {"words": [f"thought of {state['words'][0]}"]}

    async def tool(state: Thought) -> dict[str, Any]:
        return {"words": [f"looked up {state['words'][0]}"]}

    graph = StateGraph(Thought)
    graph.add_node("model", model)
    graph.add_node("tool", tool)
    graph.add_edge(START, "model")
    graph.add_edge("model", "tool")
    graph.add_edge("tool", END)
    return graph.compile()


@dataclass
class Thread:
    """A conversation's thread and what turns do on it."""

    database: Database
    tenant_id: TenantId
    id: ConversationId = field(default_factory=lambda: ConversationId(new_id("conv")))
    #: Holds up a turn in its last step until it is set.
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    in_last_step: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.go_on.set()

    async def pause(self, run_id: RunId, said: str) -> asyncio.Task[Mapping[str, Any]]:
        """Take a turn up to the inside of its last step, where it waits for `go_on`."""
        self.go_on.clear()
        self.in_last_step.clear()
        turn = asyncio.create_task(self.advance(run_id, said))
        await self.in_last_step.wait()
        return turn

    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        agent = _agent()

        async def recall(state: Talk) -> dict[str, Any]:
            return {"log": [f"heard {state['said']}"]}

        async def reply(state: Talk) -> dict[str, Any]:
            thought = await agent.ainvoke({"words": [state["said"]]})
            return {"draft": {"words": thought["words"]}}

        async def emit(state: Talk) -> dict[str, Any]:
            self.in_last_step.set()
            await self.go_on.wait()
            return {"log": [f"answered {state['said']}"]}

        graph = StateGraph(Talk)
        graph.add_node("recall", recall)
        graph.add_node("reply", reply)
        graph.add_node("emit", emit)
        graph.add_edge(START, "recall")
        graph.add_edge("recall", "reply")
        graph.add_edge("reply", "emit")
        graph.add_edge("emit", END)
        saver = AsyncPostgresSaver(TenantCheckpointPool(self.database.checkpoints, self.tenant_id))
        return graph.compile(checkpointer=saver)

    def config(self, checkpoint_id: str | None = None) -> Any:
        named = {"checkpoint_id": checkpoint_id} if checkpoint_id else {}
        return {"configurable": {"thread_id": self.id, "checkpoint_ns": "", **named}}

    async def begin(self) -> None:
        """Make the conversation, so that it can be held."""
        contact = new_id("con")
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute("INSERT INTO contacts (id) VALUES (%s)", (contact,))
            await connection.execute(
                """INSERT INTO conversations (id, account_id, contact_id, channel, recipient)
                   VALUES (%s, 'acc', %s, 'whatsapp', '{}')""",
                (self.id, contact),
            )
            await connection.execute(
                "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%s, %s)",
                (self.id, self.tenant_id),
            )

    async def run(self, said: str = "hello", *, state: str = "succeeded") -> RunId:
        """Take one turn and end it in this state."""
        run_id = await self.queue()
        await self.advance(run_id, said)
        await self.end(run_id, state)
        return run_id

    async def queue(self, *, thread_id: str | None = None) -> RunId:
        """A run that is at work."""
        run_id = RunId(new_id("run"))
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute(
                """INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, started_at)
                   VALUES (%s, %s, %s, 'turn', 'conversation', %s, 'running', clock_timestamp())""",
                (run_id, self.tenant_id, self.id, thread_id or self.id),
            )
        return run_id

    async def leave_a_checkpoint(self, state: str, number: int) -> RunId:
        """A run with one checkpoint, which needs a blob of its own and one that another run may need too."""
        run_id = await self.queue()
        await self.end(run_id, state)
        keys = {
            "thread_id": self.id,
            "id": f"{number:04}",
            "versions": Jsonb({"own": str(number), "shared": str(number // 2)}),
            "metadata": Jsonb({"run_id": run_id}),
        }
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute(
                """WITH blobs AS (
                     INSERT INTO checkpoint_blobs (thread_id, channel, version, type)
                     SELECT %(thread_id)s, key, value, 'null' FROM jsonb_each_text(%(versions)s)
                     ON CONFLICT DO NOTHING)
                   INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint, metadata)
                   SELECT %(thread_id)s, %(id)s, jsonb_build_object('channel_versions', %(versions)s), %(metadata)s""",
                keys,
            )
        return run_id

    async def fork(self, run_id: RunId) -> RunId:
        """A run on a thread of its own that is to begin where this one stood."""
        fork_id = await self.queue(thread_id=new_id("run"))
        origin = Jsonb({"run_id": run_id, "thread_id": self.id, "checkpoint_id": "1", "values": {}})
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute(
                "UPDATE core.runs SET kind = 'fork', parent_id = %s, origin = %s, state = 'queued' WHERE id = %s",
                (run_id, origin, fork_id),
            )
        return fork_id

    async def advance(self, run_id: RunId, said: str | None) -> Mapping[str, Any]:
        """Take the graph as far as it goes; None goes on where the run stopped."""
        config = self.config() | {"metadata": {"run_id": run_id}}
        given = None if said is None else {"said": said, "draft": {}}
        return cast("Mapping[str, Any]", await self.graph().ainvoke(given, config, durability="sync"))

    async def end(self, run_id: RunId, state: str) -> None:
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute(
                """UPDATE core.runs SET state = %(state)s,
                     finished_at = CASE WHEN %(state)s NOT IN ('queued', 'running', 'waiting')
                                   THEN clock_timestamp() END
                   WHERE id = %(id)s""",
                {"id": run_id, "state": state},
            )

    async def age(self, *, days: int) -> None:
        """Move everything that this conversation's runs did so far into the past."""
        async with tenant_tx(self.database, self.tenant_id, commit="test") as connection:
            await connection.execute(
                """UPDATE core.runs SET finished_at = finished_at - make_interval(days => %(days)s),
                     created_at = created_at - make_interval(days => %(days)s)
                   WHERE conversation_id = %(id)s""",
                {"id": self.id, "days": days},
            )

    async def checkpoints(self, *, nested: bool) -> dict[str | None, int]:
        """How many checkpoints each run has."""
        found = await rows(
            self.database, self.tenant_id,
            """SELECT metadata ->> 'run_id' AS run_id, count(*) AS checkpoints FROM checkpoints
               WHERE thread_id = %s AND (checkpoint_ns <> '') = %s GROUP BY 1""",
            self.id, nested,
        )  # fmt: skip
        return {row["run_id"]: row["checkpoints"] for row in found}

    async def kept(self) -> dict[str, bool]:
        """What the runs' rows say of their checkpoints."""
        found = await rows(
            self.database, self.tenant_id,
            "SELECT id, checkpoints_kept FROM core.runs WHERE conversation_id = %s", self.id,
        )  # fmt: skip
        return {row["id"]: row["checkpoints_kept"] for row in found}

    async def history(self) -> dict[str, Any]:
        """Every checkpoint at the top as the graph reads it: its values and what would come next."""
        return {
            snapshot.config["configurable"]["checkpoint_id"]: (snapshot.values, snapshot.next)
            async for snapshot in self.graph().aget_state_history(self.config())
        }

    async def useless_blobs(self) -> int:
        """Blobs that no checkpoint names."""
        (row,) = await rows(
            self.database, self.tenant_id,
            """SELECT count(*) AS blobs FROM checkpoint_blobs b WHERE thread_id = %s AND NOT EXISTS (
                 SELECT FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
                   AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version)""",
            self.id,
        )  # fmt: skip
        return int(row["blobs"])

    async def count(self, table: str) -> int:
        """The rows of this thread in a table of checkpoints."""
        query = f"SELECT count(*) AS rows FROM {table} WHERE thread_id = %s"
        (row,) = await rows(self.database, self.tenant_id, query, self.id)
        return int(row["rows"])


async def a_thread(database: Database, tenant_id: TenantId) -> Thread:
    """The thread of a new conversation."""
    thread = Thread(database, tenant_id)
    await thread.begin()
    return thread
