"""What a process needs to advance runs."""

from collections.abc import Callable
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from core.clock import Clock, utc_now
from core.ids import ConversationId, TenantId
from db.pools import Database
from graphs.run_start import Pins
from models.embedder import Embedder
from models.prices import FREE, Price


@dataclass(frozen=True, slots=True)
class RunRuntime:
    """Handles of the process, opened once and shared by all its runs."""

    database: Database
    pins: Pins
    chat_model: BaseChatModel
    embedder: Embedder
    #: Called after a commit that may have queued effects, so that they leave without waiting for a poll.
    effects_queued: Callable[[TenantId, ConversationId], None]
    price: Price = FREE
    clock: Clock = utc_now
