"""What people and programs ask of a run: accepted or refused against its row in one transaction, then carried out.

LangGraph stays silent when a finished thread is resumed or a stale answer arrives; here it is an error, and nothing
has changed. Every function needs the tenant's transaction, locks the run, and takes `by`: who asks.
"""

from collections.abc import Mapping
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from core.errors import Conflict, NotFound, RequestInvalid
from core.ids import CommandId, ConversationId, RunId, TenantId, new_id
from db.pools import Connection
from graphs.registry import graph_named
from inbox.turns import request_turn

LOCK = "SELECT FROM core.runs WHERE id = %s FOR UPDATE"

#: Read in a statement of its own, after the lock, so that a claim which held us up is seen. A run that waits for its
#: next attempt has a lease of its own time, and nobody works on it: who is at work holds the lease of the conversation.
RUN = """
SELECT r.id, r.tenant_id, r.conversation_id, r.kind, r.graph, r.state, r.interrupts, r.input, r.wake,
  EXISTS (
    SELECT FROM core.conversation_leases l
    WHERE l.conversation_id = r.lease_id AND l.run_id = r.id AND l.fence = r.fence
      AND l.lease_until > clock_timestamp()) AS at_work
FROM core.runs r WHERE r.id = %s
"""

RECORD = """
INSERT INTO core.run_commands (id, tenant_id, run_id, kind, interrupt_id, payload, requested_by, state, finished_at)
VALUES (%(id)s, current_user, %(run_id)s, %(kind)s, %(interrupt_id)s, %(payload)s, %(by)s,
        CASE WHEN %(pending)s THEN 'new' ELSE 'done' END, CASE WHEN NOT %(pending)s THEN clock_timestamp() END)
ON CONFLICT (run_id, interrupt_id) DO NOTHING
"""

GO_ON = """
UPDATE core.runs SET state = 'queued', due_at = clock_timestamp(), lease_until = NULL WHERE id = %s
"""

#: A run whose process died, or that waits for its next attempt, is taken up now.
HURRY = "UPDATE core.runs SET due_at = clock_timestamp(), lease_until = NULL WHERE id = %s"

CANCEL_SOON = "UPDATE core.runs SET cancel_requested_at = clock_timestamp() WHERE id = %s"

END = """
UPDATE core.runs SET state = 'cancelled', outcome = %(outcome)s, interrupts = '[]', lease_until = NULL,
       finished_at = clock_timestamp()
WHERE id = %(run_id)s
"""

TRY_AGAIN = """
UPDATE core.runs SET state = 'queued', outcome = NULL, attempts = 0, due_at = clock_timestamp(), lease_until = NULL,
       finished_at = NULL, cancel_requested_at = NULL, reported_to = NULL
WHERE id = %s
"""

#: It awaited a person only because this run had failed; what that person was asked is asked no more.
TAKE_BACK = """
WITH taken_back AS (
  UPDATE conversations SET owner = 'agent', handed_off_at = NULL, hand_off_reason = NULL, hand_off_summary = NULL
  WHERE id = %(conversation_id)s AND owner = 'awaiting_person' AND hand_off_reason = 'run_failed'
  RETURNING 1)
UPDATE core.runs SET state = 'cancelled', outcome = 'cancelled', interrupts = '[]', finished_at = clock_timestamp()
WHERE parent_id = %(run_id)s AND kind = 'hand_off' AND state IN ('queued', 'waiting')
  AND EXISTS (SELECT FROM taken_back)
"""

ANSWERED_BY = """
SELECT run_id FROM messages WHERE id = ANY(%(taken)s) AND run_id IS NOT NULL AND run_id <> %(run_id)s LIMIT 1
"""


async def resume(
    connection: Connection, run_id: RunId, *, answer: object = None, interrupt_id: str | None = None, by: str
) -> CommandId:
    """Let a run go on: with an answer where it waits, from the interrupted step where its process died.

    `interrupt_id` may be left out where one question alone is open.

    Raises:
        NotFound: there is no such run.
        RequestInvalid: the answer is not what its question takes.
        Conflict: it has ended, is at work, or this question is not open.
    """
    run = await _locked(connection, run_id)
    answers = answer is not None or interrupt_id is not None
    if run["state"] == "waiting" or (run["state"] == "queued" and run["interrupts"] and answers):
        return await _answer(connection, run, answer, interrupt_id, by)
    if run["state"] in ("succeeded", "cancelled"):
        raise Conflict(f"run {run_id} has {_ended(run)}; only a run that waits, was interrupted or died is resumed")
    if run["at_work"]:
        raise Conflict(f"run {run_id} is at work; it needs no resuming, and takes an answer only while it waits")
    if answers:
        raise Conflict(f"run {run_id} is {run['state']} and asks nothing; leave the answer out to let it go on")
    if run["state"] in ("failed", "dead"):
        return await _try_again(connection, run, kind="resume", by=by)
    await connection.execute(HURRY, (run_id,))
    return await _record(connection, run_id, "resume", by=by)


async def cancel(connection: Connection, run_id: RunId, *, by: str) -> CommandId:
    """End a run: now if it stands still, at its next step boundary if it is at work. It has no effects then.

    Raises:
        NotFound: there is no such run.
        Conflict: it has ended already.
    """
    run = await _locked(connection, run_id)
    if run["state"] not in ("queued", "running", "waiting"):
        raise Conflict(f"run {run_id} has {_ended(run)} already")
    if run["at_work"]:
        await connection.execute(CANCEL_SOON, (run_id,))
    else:
        await connection.execute(END, {"run_id": run_id, "outcome": "cancelled"})
        if run["wake"]:
            await _wake(connection, run)
    return await _record(connection, run_id, "cancel", by=by, pending=run["at_work"])


async def retry_run(connection: Connection, run_id: RunId, *, by: str) -> CommandId:
    """Take up a run that failed or died where it stopped, with all its attempts before it.

    Raises:
        NotFound: there is no such run.
        Conflict: it did not fail, or another run has answered its messages since.
    """
    run = await _locked(connection, run_id)
    if run["state"] not in ("failed", "dead"):
        raise Conflict(f"run {run_id} is {run['state']}; only one that failed or died is tried again")
    return await _try_again(connection, run, kind="retry", by=by)


async def discard_run(connection: Connection, run_id: RunId, *, by: str, reason: str = "") -> CommandId:
    """Let go of a run that failed or died; its cause stays on record.

    Raises:
        NotFound: there is no such run.
        Conflict: it did not fail.
    """
    run = await _locked(connection, run_id)
    if run["state"] not in ("failed", "dead"):
        raise Conflict(f"run {run_id} is {run['state']}; only one that failed or died is discarded")
    await connection.execute(END, {"run_id": run_id, "outcome": "discarded"})
    return await _record(connection, run_id, "discard", payload={"reason": reason}, by=by)


async def _answer(connection: Connection, run: DictRow, answer: object, interrupt_id: str | None, by: str) -> CommandId:
    question = _open_question(run, interrupt_id)
    checked = graph_named(run["graph"]).check_answer(question["slot"], answer)
    command = await _record(
        connection, run["id"], "resume", by=by, pending=True,
        interrupt_id=question["id"], payload={"slot": question["slot"], "answer": checked},
    )  # fmt: skip
    await connection.execute(GO_ON, (run["id"],))
    return command


async def _try_again(connection: Connection, run: DictRow, *, kind: str, by: str) -> CommandId:
    taken = [message["message_id"] for message in (run["input"] or {}).get("trigger", ())]
    answered = await (await connection.execute(ANSWERED_BY, {"taken": taken, "run_id": run["id"]})).fetchone()
    if run["kind"] == "turn" and answered is not None:
        raise Conflict(f"the messages of run {run['id']} were answered by run {answered['run_id']}; discard it")
    await connection.execute(TRY_AGAIN, (run["id"],))
    await connection.execute(TAKE_BACK, {"conversation_id": run["conversation_id"], "run_id": run["id"]})
    return await _record(connection, run["id"], kind, by=by)


async def _locked(connection: Connection, run_id: RunId) -> DictRow:
    await connection.execute(LOCK, (run_id,))
    run = await (await connection.execute(RUN, (run_id,))).fetchone()
    if run is None:
        raise NotFound(f"there is no run {run_id!r}")
    return run


async def _wake(connection: Connection, run: DictRow) -> None:
    """Begin the turn that was to hear of the run's end, whatever that end is."""
    await request_turn(
        connection,
        tenant_id=TenantId(run["tenant_id"]),
        conversation_id=ConversationId(run["conversation_id"]),
        debounce_ms=0,
    )


def _ended(run: DictRow) -> str:
    state = str(run["state"])
    return {"dead": "died", "cancelled": "been cancelled"}.get(state, state)


def _open_question(run: DictRow, interrupt_id: str | None) -> Mapping[str, Any]:  # Any: JSON
    """The question that is answered."""
    questions = run["interrupts"]
    if interrupt_id is None:
        if len(questions) != 1:
            raise RequestInvalid(f"run {run['id']} asks {len(questions)} questions; say which, by its interrupt_id")
        return questions[0]
    found = next((question for question in questions if question["id"] == interrupt_id), None)
    if found is None:
        raise Conflict(f"interrupt {interrupt_id[:64]!r} of run {run['id']} is not open; it was answered, or never was")
    return found


async def _record(
    connection: Connection,
    run_id: str,
    kind: str,
    *,
    by: str,
    interrupt_id: str | None = None,
    payload: Mapping[str, Any] | None = None,  # Any: JSON
    pending: bool = False,
) -> CommandId:
    """Keep what was asked, by whom. `pending`: the run's next commit carries it out."""
    command_id = CommandId(new_id("cmd"))
    values = {
        "id": command_id,
        "run_id": run_id,
        "kind": kind,
        "interrupt_id": interrupt_id,
        "payload": Jsonb(dict(payload or {})),
        "by": by,
        "pending": pending,
    }
    recorded = await connection.execute(RECORD, values)
    if recorded.rowcount != 1:
        raise Conflict(f"interrupt {interrupt_id!r} of run {run_id} was answered already")
    return command_id
