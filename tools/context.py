"""What a run carries beside its state: handles and identity. Given anew on every resume, never checkpointed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage
from pydantic_core import CoreSchema, core_schema

from core.clock import Clock, utc_now
from core.ids import RunId, TenantId
from db.pools import Database
from memory.knowledge import Passage
from models.embedder import Embedder


class Knowledge(Protocol):
    """Somewhere to look things up."""

    async def search(self, queries: Sequence[str], *, language: str, limit: int) -> list[list[Passage]]:
        """Give the best passages for each query, best first."""
        ...


@dataclass(frozen=True, slots=True)
class RunContext:
    """The context of one run. Who it acts for comes from here, never from a model's arguments."""

    database: Database
    tenant_id: TenantId
    run_id: RunId
    #: The number under which this process holds the conversation; a commit under an older one is void.
    fence: int
    embedder: Embedder
    chat_model: BaseChatModel
    clock: Clock = utc_now
    #: Where passages come from instead of the tenant's stored articles: for evaluations over fixed passages.
    knowledge: Knowledge | None = None
    #: Nothing is acted on: acting tools answer from receipts, and the run's effects go nowhere.
    dry_run: bool = False
    #: In a dry run, the run whose receipts answer; None is its own. A live run acts under its own keys, always.
    receipts_of: RunId | None = None

    @property
    def receipts_run_id(self) -> RunId:
        """The run from whose id the keys of calls are made."""
        return (self.receipts_of if self.dry_run else None) or self.run_id

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:  # Any: pydantic's own types
        """Handles have no JSON form: to a server that describes a graph's context, this one asks for nothing."""
        return core_schema.typed_dict_schema({})


@dataclass(frozen=True, slots=True)
class AgentContext:
    """The context of one agent inside a run: whose tools it has, what it was told, what came before this turn."""

    run: RunContext
    agent: str
    system: str
    window: tuple[AnyMessage, ...] = ()
