"""Parked effects: messages that an operator must decide about.

Either nobody knows whether it left (the provider never spoke of it), or the provider refused it for as long as we
tried. It may be sent once more under the same key, marked as sent by someone who looked, or let go. A late status of
the provider settles it as it does any other (`inbox.changes`): the message is locked before its effect here too.
"""

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from channels.events import ProviderFault
from core.errors import Conflict, NotFound
from core.ids import EffectId
from core.telemetry import EFFECTS
from db.pools import Connection
from outbox.policy import Facts, judge

PARKED = """
SELECT 'effect:' || dead.id AS id, 'effect' AS kind, dead.tenant_id, dead.kind AS what, dead.error AS cause,
  dead.attempts, dead.conversation_id, dead.account_id, dead.trace_id, dead.created_at, NULL::timestamptz AS died_at
FROM core.effects dead WHERE dead.state = 'parked'
"""

#: A refusal ends a message as `failed`. What was sent before that without an answer may still have arrived.
MAY_HAVE_LEFT = "dead.kind = 'send' AND (m.status IS DISTINCT FROM 'failed' OR dead.resends > 0)"

DETAIL = f"""
SELECT dead.key, dead.delivery, dead.payload AS message, dead.message_id, m.status AS message_status,
  {MAY_HAVE_LEFT} AS may_have_left, dead.resends, dead.sending_at, dead.run_id, c.channel,
  c.owner AS conversation_owner, a.state AS account_state, a.stop_reason AS account_stop_reason
FROM core.effects dead LEFT JOIN messages m ON m.id = dead.message_id
  LEFT JOIN conversations c ON c.id = dead.conversation_id LEFT JOIN core.accounts a ON a.id = dead.account_id
WHERE dead.id = %(key)s
"""

LOCK_MESSAGE = """
SELECT FROM messages WHERE id = (SELECT message_id FROM core.effects WHERE id = %(key)s) FOR UPDATE
"""

HOLD = f"""
SELECT dead.kind, dead.state, dead.run_id, dead.message_id, dead.conversation_id, dead.account_id, c.owner,
  {MAY_HAVE_LEFT} AS may_have_left, a.state AS account_state, a.stop_reason
FROM core.effects dead LEFT JOIN messages m ON m.id = dead.message_id
  LEFT JOIN conversations c ON c.id = dead.conversation_id LEFT JOIN core.accounts a ON a.id = dead.account_id
WHERE dead.id = %(key)s FOR UPDATE OF dead
"""

#: A message that may have left stays in the transcript as `unknown`, whatever becomes of this attempt.
MESSAGE_AGAIN = """
UPDATE messages SET status = CASE WHEN %(may_have_left)s THEN 'unknown' ELSE 'queued' END, faults = '[]'
WHERE id = %(message_id)s
"""

EFFECT_AGAIN = """
UPDATE core.effects SET state = 'queued', due_at = clock_timestamp(), lease_until = NULL, attempts = 0,
  resends = resends + CASE WHEN %(may_have_left)s THEN 1 ELSE 0 END
WHERE id = %(key)s
"""

MESSAGE_SENT = "UPDATE messages SET status = 'sent', faults = '[]' WHERE id = %(message_id)s"

EFFECT_SENT = "UPDATE core.effects SET state = 'sent', lease_until = NULL, error = NULL WHERE id = %(key)s"

#: Why the provider refused it says more than that it was let go.
MESSAGE_DISCARDED = """
UPDATE messages SET status = 'failed', faults = CASE WHEN faults = '[]' THEN %(faults)s ELSE faults END
WHERE id = %(message_id)s
"""

EFFECT_DISCARDED = """
UPDATE core.effects SET state = 'discarded', lease_until = NULL, error = concat_ws('; ', error, %(note)s::text)
WHERE id = %(key)s
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked effect, held with its message until the transaction ends."""

    effect_id: EffectId
    kind: str
    message_id: str | None
    conversation_id: str
    account_id: str
    #: Whether an agent's run wrote it.
    by_run: bool
    #: Who answers in the conversation; None where it is gone.
    owner: str | None
    #: None where the account is gone.
    account_state: str | None
    stop_reason: str | None
    #: Whether the person may have got it already.
    may_have_left: bool

    def keys(self) -> dict[str, object]:
        """What the statements name it by."""
        return {"key": self.effect_id, "message_id": self.message_id, "may_have_left": self.may_have_left}


async def retry_effect(connection: Connection, key: EffectId) -> None:
    """Send it once more under the same key. Needs the tenant's transaction.

    Raises:
        NotFound: this tenant has no such effect.
        Conflict: it is not parked; or its account is stopped, or a person owns the conversation.
    """
    parked = await _hold(connection, key)
    _refuse_what_may_not_leave(parked)
    await connection.execute(MESSAGE_AGAIN, parked.keys())
    await connection.execute(EFFECT_AGAIN, parked.keys())
    EFFECTS.labels(parked.kind, "retried").inc()


async def mark_sent(connection: Connection, key: EffectId) -> None:
    """Take an operator's word for it that the person got it. Needs the tenant's transaction.

    Raises:
        NotFound: this tenant has no such effect.
        Conflict: it is not parked, or it is certain that it never left.
    """
    parked = await _hold(connection, key)
    if not parked.may_have_left:
        raise Conflict(f"effect:{key} never left: it was refused before anybody got it; retry or discard it")
    await connection.execute(MESSAGE_SENT, parked.keys())
    await connection.execute(EFFECT_SENT, parked.keys())
    EFFECTS.labels(parked.kind, "sent").inc()


async def discard_effect(connection: Connection, key: EffectId, *, note: str) -> None:
    """Let it go: it is not sent again and its message shows `failed`. `note` is added to its cause.

    Needs the tenant's transaction.

    Raises:
        NotFound: this tenant has no such effect.
        Conflict: it is not parked.
    """
    parked = await _hold(connection, key)
    fault = ProviderFault(code="discarded", title="an operator let it go", remedy="person")
    await connection.execute(MESSAGE_DISCARDED, parked.keys() | {"faults": Jsonb([fault.model_dump()])})
    await connection.execute(EFFECT_DISCARDED, parked.keys() | {"note": note})
    EFFECTS.labels(parked.kind, "discarded").inc()


async def _hold(connection: Connection, key: EffectId) -> Parked:
    await connection.execute(LOCK_MESSAGE, {"key": key})
    row = await (await connection.execute(HOLD.encode(), {"key": key})).fetchone()
    if row is None:
        raise NotFound(f"there is no effect {key!r}")
    if row["state"] != "parked":
        raise Conflict(f"effect:{key} is {row['state']!r}; only what is 'parked' can be acted upon here")
    return Parked(
        key, row["kind"], row["message_id"], row["conversation_id"], row["account_id"], row["run_id"] is not None,
        row["owner"], row["account_state"], row["stop_reason"], row["may_have_left"],
    )  # fmt: skip


def _refuse_what_may_not_leave(parked: Parked) -> None:
    """By the same judgement that stands before every send: what it would drop or keep back is not queued again."""
    if parked.account_state is None:
        raise Conflict(f"effect:{parked.effect_id} has no account any more: {parked.account_id} is gone; discard it")
    facts = Facts(
        is_sign_of_reading=parked.kind == "read_and_typing",
        by_run=parked.by_run,
        owner=parked.owner,
        account_stopped=parked.account_state == "stopped",
        stale=True,
        run_over=True,
    )
    judgement = judge(facts)
    if judgement.verdict == "wait":
        why = f": {parked.stop_reason}" if parked.stop_reason else ""
        raise Conflict(
            f"effect:{parked.effect_id} cannot be sent now: the account {parked.account_id} is stopped{why};"
            " start it first"
        )
    if judgement.verdict == "drop":
        remedy = "have it handed back, or discard this" if parked.owner == "person" else "discard it"
        raise Conflict(
            f"effect:{parked.effect_id} may not be sent: {judgement.reason}"
            f" (conversation {parked.conversation_id}); {remedy}"
        )
