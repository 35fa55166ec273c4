"""Ending a run's work: one transaction in which everything that it decided becomes true, or nothing does.

The same transaction checks that the conversation is still ours, that no person has taken it over, that nobody wants
the run to end, and that nothing newer was said meanwhile; so a reply is never sent twice, never over a person's head,
and never beside the point.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from checkpoints.retention import schedule_prune_if_due
from checkpoints.saver import Journal
from core.errors import FenceLost
from db.pools import Connection, Database
from db.transactions import tenant_tx
from graphs.commit_effects import commit_effects
from graphs.hand_over import hand_over
from graphs.questions import OpenQuestion
from graphs.run_claim import ClaimedRun
from graphs.run_start import RunStart
from graphs.steps import Usage, insert_steps
from inbox.turns import request_turn

Outcome: TypeAlias = Literal[
    "answered", "handed_off", "silent", "superseded", "person_took_over", "nothing_to_answer", "answered_elsewhere",
    "waiting", "dry_run", "cancelled", "failed", "dead",
]  # fmt: skip

#: How a run ends that decided nothing.
Ending: TypeAlias = Literal["nothing_to_answer", "cancelled", "failed", "dead"]

#: Every other outcome is a success.
STATES: Mapping[Outcome, str] = {"waiting": "waiting", "cancelled": "cancelled", "failed": "failed", "dead": "dead"}

#: A person who never stops writing is answered after this many replies were overtaken.
SUPERSEDED_IN_A_ROW_MAX = 3

#: The lease is locked before the conversation, everywhere.
HOLD = """
WITH held AS (
  SELECT conversation_id FROM core.conversation_leases
  WHERE conversation_id = %(lease_id)s AND fence = %(fence)s FOR UPDATE)
SELECT c.owner, c.superseded_in_a_row, c.account_id, r.cancel_requested_at IS NOT NULL AS cancelled, r.wake,
  EXISTS (
    SELECT FROM messages m WHERE m.conversation_id = c.id AND m.needs_answer AND m.run_id IS NULL AND NOT m.deleted
      AND NOT m.id = ANY(%(taken)s)) AS more_to_answer,
  EXISTS (
    SELECT FROM core.runs q WHERE q.conversation_id = c.id AND q.kind = 'turn' AND q.state = 'queued' AND q.id <> r.id
  ) AS turn_follows,
  EXISTS (
    SELECT FROM messages m WHERE m.id = ANY(%(taken)s) AND m.run_id <> %(run_id)s) AS answered_elsewhere
FROM held, core.runs r JOIN conversations c ON c.id = r.conversation_id
WHERE r.id = %(run_id)s AND r.fence = %(fence)s AND r.state = 'running' FOR UPDATE OF r, c
"""

FINISH = """
WITH answered AS (
  UPDATE messages SET run_id = %(run_id)s WHERE id = ANY(%(answered)s) AND run_id IS NULL
), counted AS (
  UPDATE conversations
  SET superseded_in_a_row = CASE WHEN %(outcome)s = 'superseded' THEN superseded_in_a_row + 1 ELSE 0 END,
      last_message_at = CASE WHEN %(outcome)s IN ('answered', 'handed_off') THEN clock_timestamp()
                        ELSE last_message_at END
  WHERE id = %(conversation_id)s AND %(outcome)s NOT IN ('waiting', 'dry_run')
), let_go AS (
  UPDATE core.conversation_leases SET lease_until = '-infinity', run_id = NULL
  WHERE conversation_id = %(lease_id)s AND fence = %(fence)s
), reported AS (
  UPDATE core.runs SET reported_to = %(run_id)s WHERE id = ANY(%(reported)s) AND reported_to IS NULL
), carried_out AS (
  UPDATE core.run_commands SET state = 'done', finished_at = clock_timestamp()
  WHERE run_id = %(run_id)s AND state = 'new'
)
UPDATE core.runs SET state = %(state)s, outcome = %(outcome)s, error = %(error)s, lease_until = NULL,
       attempts = CASE WHEN %(state)s = 'waiting' THEN 0 ELSE attempts END,
       interrupts = %(questions)s, effects = %(effects)s,
       due_at = CASE WHEN %(state)s = 'waiting'
                THEN coalesce((waits_for->>'until')::timestamptz, 'infinity') ELSE due_at END,
       finished_at = CASE WHEN %(state)s <> 'waiting' THEN clock_timestamp() END,
       tokens_in = tokens_in + %(tokens_in)s, tokens_out = tokens_out + %(tokens_out)s,
       cost_usd_micros = cost_usd_micros + %(cost_usd_micros)s
WHERE id = %(run_id)s AND fence = %(fence)s AND state = 'running'
"""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What an attempt left behind."""

    effects: Sequence[Mapping[str, Any]] = ()  # Any: JSON drafts, as `graphs.effects` describes them
    #: Those that nobody has answered yet: the run waits.
    questions: Sequence[OpenQuestion] = ()
    used: Usage = field(default_factory=Usage)
    #: Steps that stand in no checkpoint.
    journal: Journal = field(default_factory=Journal)


async def commit_run(database: Database, run: ClaimedRun, start: RunStart, result: RunResult) -> Outcome:
    """Make the run's decisions true; gives what became of it.

    Raises:
        FenceLost: another process has taken over; nothing was written.
    """
    async with tenant_tx(database, run.tenant_id, commit="run.commit") as connection:
        taken = start.message_ids
        conversation = await _hold(connection, run, taken)
        outcome = _outcome(run, conversation, result)
        if outcome in ("answered", "handed_off", "silent"):
            await commit_effects(connection, run, conversation["account_id"], result.effects)
        await _finish(
            connection, run, outcome, result,
            answered=taken if outcome in ("answered", "handed_off", "silent", "person_took_over") else [],
            reported=start.finished_ids if run.kind == "turn" and outcome != "superseded" else [],
        )  # fmt: skip
        # A burst larger than one turn takes leaves messages for which no turn waits.
        leaves_some = run.kind == "turn" and conversation["more_to_answer"] and not conversation["turn_follows"]
        if (conversation["wake"] and outcome != "waiting") or leaves_some:
            await _wake(connection, run)
        if run.kind == "turn":
            await schedule_prune_if_due(connection, run.thread_id)
    return outcome


async def end_run(
    database: Database,
    run: ClaimedRun,
    outcome: Ending,
    *,
    error: str | None = None,
    result: RunResult | None = None,
) -> None:
    """End a run that decides nothing: there was nothing to answer, somebody ended it, or it failed for good.

    A turn that failed for good leaves its messages unanswered and asks for a person.

    Raises:
        FenceLost: another process has taken over; nothing was written.
    """
    async with tenant_tx(database, run.tenant_id, commit="run.end") as connection:
        conversation = await _hold(connection, run, [])
        if outcome in ("failed", "dead") and run.kind == "turn":
            await hand_over(connection, run, reason="run_failed", summary=f"Run {run.run_id} failed: {error}")
        await _finish(connection, run, outcome, result or RunResult(), error=error)
        if conversation["wake"]:
            await _wake(connection, run)


async def record_steps(database: Database, run: ClaimedRun, journal: Journal) -> None:
    """Keep the steps of an attempt that failed, among them the one that failed it."""
    if journal.steps:
        async with tenant_tx(database, run.tenant_id, commit="run.record") as connection:
            await insert_steps(connection, run, journal)


async def _hold(connection: Connection, run: ClaimedRun, taken: list[str]) -> DictRow:
    """Lock the conversation, if the run is still ours; gives what the outcome depends on."""
    keys = {"lease_id": run.lease_id, "fence": run.fence, "run_id": run.run_id, "taken": taken}
    conversation = await (await connection.execute(HOLD, keys)).fetchone()
    if conversation is None:
        raise FenceLost(f"run {run.run_id} is no longer held under fence {run.fence}")
    return conversation


def _outcome(run: ClaimedRun, conversation: Mapping[str, Any], result: RunResult) -> Outcome:
    kinds = {effect["kind"] for effect in result.effects}
    is_turn = run.kind == "turn"
    overtaken = conversation["more_to_answer"] and conversation["turn_follows"]
    by_precedence: tuple[tuple[Outcome, bool], ...] = (
        ("cancelled", conversation["cancelled"]),
        ("dry_run", run.dry_run),
        ("waiting", bool(result.questions)),
        ("person_took_over", conversation["owner"] == "person" and (is_turn or "send" in kinds)),
        ("answered_elsewhere", is_turn and conversation["answered_elsewhere"]),
        ("superseded", is_turn and overtaken and conversation["superseded_in_a_row"] < SUPERSEDED_IN_A_ROW_MAX),
        ("handed_off", "hand_off" in kinds),
        ("answered", "send" in kinds),
        ("silent", True),
    )
    return next(outcome for outcome, holds in by_precedence if holds)


async def _finish(
    connection: Connection,
    run: ClaimedRun,
    outcome: Outcome,
    result: RunResult,
    *,
    answered: Sequence[str] = (),
    reported: Sequence[str] = (),
    error: str | None = None,
) -> None:
    await insert_steps(connection, run, result.journal)
    values = {
        "run_id": run.run_id,
        "conversation_id": run.conversation_id,
        "lease_id": run.lease_id,
        "fence": run.fence,
        "answered": list(answered),
        "reported": list(reported),
        "state": STATES.get(outcome, "succeeded"),
        "outcome": outcome,
        "error": error,
        "questions": Jsonb(list(result.questions) if outcome == "waiting" else []),
        "effects": Jsonb(list(result.effects)) if outcome == "dry_run" else None,
        "tokens_in": result.used.tokens_in,
        "tokens_out": result.used.tokens_out,
        "cost_usd_micros": result.used.cost_usd_micros,
    }
    finished = await connection.execute(FINISH, values)
    if finished.rowcount != 1:
        raise FenceLost(f"run {run.run_id} is no longer running under fence {run.fence}")


async def _wake(connection: Connection, run: ClaimedRun) -> None:
    await request_turn(connection, tenant_id=run.tenant_id, conversation_id=run.conversation_id, debounce_ms=0)
