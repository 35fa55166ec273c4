"""The peer of our checkpoints: LangGraph's own recipe, a graph of three nodes over `add_messages` with the stock saver.

It is given the texts of a conversation of ours and thinks nothing of its own, so that what it stores is the transcript
and nothing else.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from typing_extensions import TypedDict

SCHEMA = "stock"
THREAD = "conversation"


class StockState(TypedDict):
    """What every tutorial begins with."""

    messages: Annotated[list[AnyMessage], add_messages]
    answer: str


class StockThread:
    """Takes turns on one thread."""

    def __init__(self, connection: AsyncConnection[DictRow]) -> None:
        self.connection = connection
        graph = StateGraph(StockState)
        graph.add_node("recall", _nothing)
        graph.add_node("reply", _reply)
        graph.add_node("log", _nothing)
        graph.add_edge(START, "recall")
        graph.add_edge("recall", "reply")
        graph.add_edge("reply", "log")
        graph.add_edge("log", END)
        self._graph = graph.compile(checkpointer=AsyncPostgresSaver(connection))

    async def turn(self, text: str, answer: str) -> None:
        """One message of the person and the reply to it."""
        await self._graph.ainvoke(
            {"messages": [HumanMessage(text)], "answer": answer},
            {"configurable": {"thread_id": THREAD}},
            durability="sync",
        )


@asynccontextmanager
async def open_stock_thread(admin_url: str) -> AsyncGenerator[StockThread, None]:
    """A thread in a schema of its own, made as the library makes it."""
    connection: AsyncConnection[DictRow] = await AsyncConnection[DictRow].connect(
        admin_url, autocommit=True, row_factory=dict_row, prepare_threshold=0
    )
    async with connection:
        await connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        await connection.execute(f"SET search_path TO {SCHEMA}".encode())
        await AsyncPostgresSaver(connection).setup()
        yield StockThread(connection)


async def _nothing(state: StockState) -> dict[str, Any]:
    del state
    return {}


async def _reply(state: StockState) -> dict[str, Any]:
    return {"messages": [AIMessage(state["answer"])]}
