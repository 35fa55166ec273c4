"""Legal holds: while one stands, no checkpoint of its conversation is deleted, for neither age nor number."""

from dataclasses import dataclass

from checkpoints.retention import schedule_prune_if_due
from core.errors import NotFound, RequestInvalid
from core.ids import ConversationId
from core.log import logger
from db.pools import Connection

log = logger(__name__)

REASON_CHARACTERS_MAX = 500

SET = "UPDATE conversations SET legal_hold_reason = %(reason)s WHERE id = %(id)s RETURNING id"


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A conversation and why its checkpoints may not be deleted."""

    conversation_id: ConversationId
    reason: str


async def hold_conversation(connection: Connection, conversation_id: ConversationId, reason: str) -> LegalHold:
    """Put a conversation under legal hold; one that is held takes the new reason. Needs `tenant_tx`.

    Raises:
        NotFound: there is no such conversation.
        RequestInvalid: the reason is blank or too long.
    """
    reason = reason.strip()
    if not reason or len(reason) > REASON_CHARACTERS_MAX:
        raise RequestInvalid(
            f"a legal hold needs a reason of 1 to {REASON_CHARACTERS_MAX} characters; this one has {len(reason)}"
        )
    await _set(connection, conversation_id, reason)
    log.info("legal_hold_set", conversation_id=conversation_id)
    return LegalHold(conversation_id, reason)


async def release_conversation(connection: Connection, conversation_id: ConversationId) -> None:
    """Let retention see the conversation again; at once back where it was not held. Needs `tenant_tx`.

    Raises:
        NotFound: there is no such conversation.
    """
    await _set(connection, conversation_id, None)
    await schedule_prune_if_due(connection, conversation_id)
    log.info("legal_hold_released", conversation_id=conversation_id)


async def legal_hold_of(connection: Connection, conversation_id: ConversationId) -> LegalHold:
    """Why a conversation is held. Needs `tenant_tx`.

    Raises:
        NotFound: there is no such conversation, or it is not held.
    """
    query = "SELECT legal_hold_reason FROM conversations WHERE id = %s"
    row = await (await connection.execute(query, (conversation_id,))).fetchone()
    if row is None:
        raise _unknown(conversation_id)
    if row["legal_hold_reason"] is None:
        raise NotFound(f"conversation {conversation_id} is not under legal hold")
    return LegalHold(conversation_id, row["legal_hold_reason"])


async def list_legal_holds(connection: Connection) -> list[LegalHold]:
    """Every conversation of the tenant that is held. Needs `tenant_tx`."""
    query = "SELECT id, legal_hold_reason FROM conversations WHERE legal_hold_reason IS NOT NULL ORDER BY id"
    rows = await (await connection.execute(query)).fetchall()
    return [LegalHold(row["id"], row["legal_hold_reason"]) for row in rows]


async def _set(connection: Connection, conversation_id: ConversationId, reason: str | None) -> None:
    row = await (await connection.execute(SET, {"id": conversation_id, "reason": reason})).fetchone()
    if row is None:
        raise _unknown(conversation_id)


def _unknown(conversation_id: ConversationId) -> NotFound:
    return NotFound(f"there is no conversation {conversation_id!r} of this tenant")
