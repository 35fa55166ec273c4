"""Asking for a turn: whatever a person writes while one waits to begin joins it.

The turn becomes due when the conversation has been quiet for `debounce_ms`, and at the latest after a few times that,
so that someone who never pauses is answered too.
"""

from core.ids import ConversationId, RunId, TenantId, new_id
from core.telemetry import trace_id
from db.pools import Connection

#: A conversation that never pauses is answered after this many quiet times.
DEBOUNCE_MULTIPLE_MAX = 5

REQUEST = """
INSERT INTO core.runs AS waiting
  (id, tenant_id, conversation_id, kind, graph, thread_id, state, due_at, trace_id)
VALUES (%(id)s, %(tenant_id)s, %(conversation_id)s, 'turn', 'conversation', %(conversation_id)s, 'queued',
        clock_timestamp() + make_interval(secs => %(debounce_s)s), %(trace_id)s)
ON CONFLICT (conversation_id) WHERE kind = 'turn' AND state = 'queued' AND started_at IS NULL DO UPDATE
SET due_at = least(excluded.due_at, waiting.created_at + make_interval(secs => %(debounce_s)s * %(multiple_max)s))
"""


async def request_turn(
    connection: Connection, *, tenant_id: TenantId, conversation_id: ConversationId, debounce_ms: int
) -> None:
    """Have the conversation answered once it has been quiet for `debounce_ms`."""
    await connection.execute(
        REQUEST,
        {
            "id": RunId(new_id("run")),
            "tenant_id": tenant_id,
            "conversation_id": conversation_id,
            "debounce_s": debounce_ms / 1000,
            "multiple_max": DEBOUNCE_MULTIPLE_MAX,
            "trace_id": trace_id.get(),
        },
    )
