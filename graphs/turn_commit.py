"""Ending a turn: everything it decided becomes true in one transaction, or nothing does.

The same transaction checks that the conversation is still ours, that no person has taken it over, and that nothing
newer was said meanwhile; so a reply is never sent twice, never over a person's head, and never beside the point.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow

from channels.messages import OUTBOUND, ReadAndTyping
from core.errors import Broken, FenceLost
from db.pools import Connection, Database
from db.transactions import tenant_tx
from graphs.effects import effect_key
from graphs.steps import Step, insert_steps
from graphs.turn_claim import ClaimedTurn
from graphs.turn_start import TurnInput
from outbox.effects import queue_message

Outcome: TypeAlias = Literal[
    "answered", "handed_off", "silent", "superseded", "person_took_over", "nothing_to_answer", "dead"
]

#: A person who never stops writing is answered after this many replies were overtaken.
SUPERSEDED_IN_A_ROW_MAX = 3

#: The lease is locked before the conversation, everywhere.
HOLD = """
WITH held AS (
  SELECT conversation_id FROM core.conversation_leases
  WHERE conversation_id = %(conversation_id)s AND fence = %(fence)s FOR UPDATE)
SELECT owner, superseded_in_a_row, account_id, EXISTS (
    SELECT FROM messages m WHERE m.conversation_id = c.id AND m.needs_answer AND m.run_id IS NULL AND NOT m.deleted
      AND NOT m.id = ANY(%(taken)s)) AS overtaken
FROM held JOIN conversations c ON c.id = held.conversation_id FOR UPDATE OF c
"""

HAND_OFF = """
UPDATE conversations SET owner = 'awaiting_person', handed_off_at = clock_timestamp(), hand_off_reason = %(reason)s,
       hand_off_summary = %(summary)s
WHERE id = %(conversation_id)s AND owner = 'agent'
"""

FINISH = """
WITH answered AS (
  UPDATE messages SET run_id = %(run_id)s
  WHERE id = ANY(%(taken)s) AND run_id IS NULL AND %(outcome)s NOT IN ('superseded', 'dead')
), counted AS (
  UPDATE conversations
  SET superseded_in_a_row = CASE WHEN %(outcome)s = 'superseded' THEN superseded_in_a_row + 1 ELSE 0 END,
      last_message_at = CASE WHEN %(outcome)s IN ('answered', 'handed_off') THEN clock_timestamp()
                        ELSE last_message_at END
  WHERE id = %(conversation_id)s
), let_go AS (
  UPDATE core.conversation_leases SET lease_until = '-infinity', run_id = NULL
  WHERE conversation_id = %(conversation_id)s AND fence = %(fence)s
)
UPDATE core.runs SET state = %(state)s, outcome = %(outcome)s, error = %(error)s, lease_until = NULL,
       finished_at = clock_timestamp(), tokens_in = tokens_in + %(tokens_in)s, tokens_out = tokens_out + %(tokens_out)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """What the graph left behind."""

    effects: Sequence[Mapping[str, Any]]  # Any: JSON drafts, as `graphs.state` describes them
    steps: Sequence[Step]


async def commit_turn(database: Database, turn: ClaimedTurn, given: TurnInput, result: TurnResult) -> Outcome:
    """Make the turn's decisions true; gives what became of it.

    Raises:
        FenceLost: another process has taken over; nothing was written.
    """
    async with tenant_tx(database, turn.tenant_id, commit="turn.commit") as connection:
        keys = _keys(turn, given.message_ids)
        conversation = await _hold(connection, keys)
        outcome = _outcome(conversation, result)
        if outcome in ("answered", "handed_off"):
            await _queue_effects(connection, turn, conversation["account_id"], result.effects)
        await insert_steps(connection, turn, result.steps)
        await _finish(connection, keys, outcome=outcome, steps=result.steps)
    return outcome


async def finish_turn(
    database: Database, turn: ClaimedTurn, *, outcome: Outcome, error: str | None = None, steps: Sequence[Step] = ()
) -> None:
    """End a turn that says nothing: there was nothing to answer, or it failed for good.

    A turn that failed for good leaves its messages unanswered and asks for a person.
    """
    async with tenant_tx(database, turn.tenant_id, commit="turn.finish") as connection:
        keys = _keys(turn, [])
        await _hold(connection, keys)
        if outcome == "dead":
            await connection.execute(
                HAND_OFF, keys | {"reason": "run_failed", "summary": f"Run {turn.run_id} failed: {error}"}
            )
        await insert_steps(connection, turn, steps)
        await _finish(connection, keys, outcome=outcome, error=error, steps=steps)


def _keys(turn: ClaimedTurn, taken: list[str]) -> dict[str, Any]:  # Any: the values of several statements
    return {"conversation_id": turn.conversation_id, "run_id": turn.run_id, "fence": turn.fence, "taken": taken}


async def _hold(connection: Connection, keys: dict[str, Any]) -> DictRow:
    """Lock the conversation, if it is still ours; gives what the outcome depends on."""
    conversation = await (await connection.execute(HOLD, keys)).fetchone()
    if conversation is None:
        raise FenceLost(f"conversation {keys['conversation_id']} is no longer held under fence {keys['fence']}")
    return conversation


def _outcome(conversation: Mapping[str, Any], result: TurnResult) -> Outcome:
    if conversation["owner"] == "person":
        return "person_took_over"
    if conversation["overtaken"] and conversation["superseded_in_a_row"] < SUPERSEDED_IN_A_ROW_MAX:
        return "superseded"
    kinds = {effect["kind"] for effect in result.effects}
    if "hand_off" in kinds:
        return "handed_off"
    return "answered" if "send" in kinds else "silent"


async def _queue_effects(
    connection: Connection, turn: ClaimedTurn, account_id: str, effects: Sequence[Mapping[str, Any]]
) -> None:
    places: Counter[str] = Counter()
    for effect in effects:
        slot = effect["slot"]
        key = effect_key(turn.tenant_id, turn.run_id, path="emit", slot=slot, index=places[slot])
        places[slot] += 1
        match effect["kind"]:
            case "send":
                message = OUTBOUND.validate_python(effect["message"])
                if isinstance(message, ReadAndTyping):
                    raise Broken(f"run {turn.run_id} returned a sign of reading as a message to send")
                await queue_message(
                    connection,
                    key=key,
                    run_id=turn.run_id,
                    conversation_id=turn.conversation_id,
                    account_id=account_id,
                    message=message,
                    delivery=effect["delivery"],
                    citations=effect.get("citations", ()),
                )
            case "hand_off":
                reason = {"reason": effect["reason"], "summary": effect["summary"]}
                await connection.execute(HAND_OFF, _keys(turn, []) | reason)
            case unknown:
                raise Broken(f"run {turn.run_id} returned an effect of unknown kind {unknown!r}")


async def _finish(
    connection: Connection,
    keys: dict[str, Any],
    *,
    outcome: Outcome,
    steps: Sequence[Step],
    error: str | None = None,
) -> None:
    values = {
        "state": "dead" if outcome == "dead" else "succeeded",
        "outcome": outcome,
        "error": error,
        "tokens_in": sum(step.tokens_in for step in steps),
        "tokens_out": sum(step.tokens_out for step in steps),
    }
    finished = await connection.execute(FINISH, keys | values)
    if finished.rowcount != 1:
        raise FenceLost(f"run {keys['run_id']} is no longer running under fence {keys['fence']}")
