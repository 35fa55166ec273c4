"""Asking for a turn: whatever a person writes while one waits to begin joins it.

The turn becomes due when the conversation has been quiet for a while, and at the latest a few of its account's quiet
times after it was first asked for, so that someone who never pauses is answered too.
"""

from core.ids import ConversationId, RunId, TenantId, new_id
from core.telemetry import trace_id
from db.pools import Connection
from inbox.debounce import QUIET_MULTIPLE_MAX

REQUEST = """
INSERT INTO core.runs AS waiting
  (id, tenant_id, conversation_id, kind, graph, thread_id, state, due_at, trace_id)
VALUES (%(id)s, %(tenant_id)s, %(conversation_id)s, 'turn', 'conversation', %(conversation_id)s, 'queued',
        statement_timestamp() + make_interval(secs => %(quiet_s)s), %(trace_id)s)
ON CONFLICT (conversation_id) WHERE kind = 'turn' AND state = 'queued' AND started_at IS NULL DO UPDATE
SET due_at = CASE WHEN %(wait_s_max)s > 0
    THEN least(excluded.due_at, waiting.created_at + make_interval(secs => %(wait_s_max)s)) ELSE waiting.due_at END
"""


async def request_turn(
    connection: Connection,
    *,
    tenant_id: TenantId,
    conversation_id: ConversationId,
    debounce_ms: int,
    quiet_ms: int | None = None,
) -> None:
    """Have the conversation answered once it has been quiet for `quiet_ms`, by default its account's `debounce_ms`.

    Whatever is asked meanwhile, it is due at the latest `QUIET_MULTIPLE_MAX` times `debounce_ms` after the first time.
    With 0 a new turn is due at once, and one that already waits is joined and not hurried: somebody may be writing.
    """
    wait_ms_max = debounce_ms * QUIET_MULTIPLE_MAX
    await connection.execute(
        REQUEST,
        {
            "id": RunId(new_id("run")),
            "tenant_id": tenant_id,
            "conversation_id": conversation_id,
            "quiet_s": min(debounce_ms if quiet_ms is None else quiet_ms, wait_ms_max) / 1000,
            "wait_s_max": wait_ms_max / 1000,
            "trace_id": trace_id.get(),
        },
    )
