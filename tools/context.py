"""What a run carries beside its state: handles and identity. Given anew on every resume, never checkpointed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage

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


@dataclass(frozen=True, slots=True)
class AgentContext:
    """The context of one agent inside a run: whose tools it has, what it was told, what came before this turn."""

    run: RunContext
    agent: str
    system: str
    window: tuple[AnyMessage, ...] = ()
