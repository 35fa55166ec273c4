"""Which checkpoints of a thread stay: the last few finished runs, and every run that is not finished, keep theirs.

A finished run is one that succeeded or was cancelled. What stays of it are the checkpoints of its own graph, which is
what a fork or a look back needs; those of the agents nested in it, and what its tasks wrote on the way to the next
checkpoint, serve resuming alone and go. An older run can be forked and replayed from its start, by its row.

Safe beside a run that writes to the same thread. A checkpoint and its blobs are stored by one statement and built on
the thread's newest checkpoint or on the run's own, neither of which goes; so whatever a checkpoint needs that this
statement does not see yet is either unseen too or kept.
"""

from dataclasses import dataclass

from core.ids import JobId, TenantId, new_id
from core.log import logger
from core.telemetry import trace_id
from db.pools import Connection, Database
from db.transactions import tenant_tx

log = logger(__name__)

#: The kind of the job that prunes one thread; its payload is {"thread_id"}.
PRUNE_JOB = "checkpoints.prune"
#: So many finished runs of a thread can be forked from any of their checkpoints.
RUNS_KEPT = 3
#: So many more may stand before a job is scheduled, so that not every turn schedules one. A run that was not pruned yet
#: weighs twice what is kept of it.
RUNS_SLACK = 2

#: A thread is pruned when even the oldest of its latest finished runs still has its checkpoints. A held one never is.
SCHEDULE = """
INSERT INTO core.jobs (id, tenant_id, kind, unique_key, lane, due_at, payload, trace_id)
SELECT %(job_id)s, current_user, %(kind)s, %(thread_id)s, 'background', clock_timestamp(),
       jsonb_build_object('thread_id', %(thread_id)s::text), %(trace_id)s
FROM (SELECT conversation_id, checkpoints_kept FROM core.runs
      WHERE thread_id = %(thread_id)s AND state IN ('succeeded', 'cancelled')
      ORDER BY created_at DESC LIMIT %(runs_max)s + 1) AS latest
HAVING count(*) FILTER (WHERE checkpoints_kept) > %(runs_max)s AND NOT EXISTS (
  SELECT FROM conversations WHERE id = min(latest.conversation_id) AND legal_hold_reason IS NOT NULL)
ON CONFLICT (tenant_id, kind, unique_key) WHERE state = 'queued' DO NOTHING
"""

#: The lock makes a hold that comes meanwhile wait: once a hold is set, nothing of it is deleted any more.
HELD = """
SELECT legal_hold_reason IS NOT NULL AS held FROM conversations
WHERE id = (SELECT conversation_id FROM core.runs WHERE thread_id = %(thread_id)s LIMIT 1) FOR SHARE
"""

#: `head`: the newest checkpoint, on which the next turn stands. A nested agent's namespace carries its task's id behind
#: a colon. A run that is being forked stays until its fork has ended, which copies from it at its start. All parts of
#: the statement see the thread as it was before any of them.
PRUNE = """
WITH standing AS MATERIALIZED (
  SELECT checkpoint_ns, checkpoint_id, metadata ->> 'run_id' AS run_id, checkpoint -> 'channel_versions' AS versions,
         strpos(checkpoint_ns, ':') > 0 AS nested,
         checkpoint_id = max(checkpoint_id) OVER (PARTITION BY checkpoint_ns) AS head
  FROM checkpoints WHERE thread_id = %(thread_id)s
), finished AS MATERIALIZED (
  SELECT r.id, row_number() OVER (ORDER BY r.finished_at DESC NULLS LAST, r.id DESC) > %(runs_kept)s AND NOT EXISTS (
           SELECT FROM core.runs fork WHERE fork.parent_id = r.id AND fork.state IN ('queued', 'running')) AS old
  FROM core.runs r
  WHERE r.id = ANY (ARRAY(SELECT run_id FROM standing)) AND r.thread_id = %(thread_id)s
    AND r.state IN ('succeeded', 'cancelled')
), judged AS MATERIALIZED (
  SELECT s.*, f.id IS NOT NULL AND (s.nested OR NOT s.head) AS ended,
         f.id IS NOT NULL AND (s.nested OR (f.old AND NOT s.head)) AS goes
  FROM standing s LEFT JOIN finished f ON f.id = s.run_id
), needed AS MATERIALIZED (
  SELECT DISTINCT checkpoint_ns, v.key AS channel, v.value AS version
  FROM judged CROSS JOIN LATERAL jsonb_each_text(versions) AS v WHERE NOT goes
), deleted AS (
  DELETE FROM checkpoints c USING judged j
  WHERE j.goes AND c.thread_id = %(thread_id)s AND c.checkpoint_ns = j.checkpoint_ns
    AND c.checkpoint_id = j.checkpoint_id
  RETURNING 1
), deleted_writes AS (
  DELETE FROM checkpoint_writes w USING judged j
  WHERE j.ended AND w.thread_id = %(thread_id)s AND w.checkpoint_ns = j.checkpoint_ns
    AND w.checkpoint_id = j.checkpoint_id
), deleted_blobs AS (
  DELETE FROM checkpoint_blobs b
  WHERE b.thread_id = %(thread_id)s AND NOT EXISTS (
    SELECT FROM needed n
    WHERE n.checkpoint_ns = b.checkpoint_ns AND n.channel = b.channel AND n.version = b.version)
), cut AS (
  UPDATE checkpoints c SET parent_checkpoint_id = NULL FROM judged child, judged parent
  WHERE c.thread_id = %(thread_id)s AND NOT child.goes AND parent.goes
    AND c.checkpoint_ns = child.checkpoint_ns AND c.checkpoint_id = child.checkpoint_id
    AND c.checkpoint_ns = parent.checkpoint_ns AND c.parent_checkpoint_id = parent.checkpoint_id
), marked AS (
  UPDATE core.runs SET checkpoints_kept = false
  WHERE thread_id = %(thread_id)s AND checkpoints_kept AND state IN ('succeeded', 'cancelled')
    AND id <> ALL (ARRAY(SELECT id FROM finished WHERE NOT old))
  RETURNING 1
)
SELECT (SELECT count(*) FROM deleted) AS checkpoints, (SELECT count(*) FROM marked) AS runs
"""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many checkpoints went, and of how many runs they were the last."""

    checkpoints: int
    runs: int


async def schedule_prune_if_due(connection: Connection, thread_id: str) -> None:
    """Have a job prune this thread if more finished runs than are kept still have checkpoints. Needs `tenant_tx`.

    Call it in the transaction in which a run ends, after its end.
    """
    keys = {
        "job_id": JobId(new_id("job")),
        "kind": PRUNE_JOB,
        "thread_id": thread_id,
        "trace_id": trace_id.get(),
        "runs_max": RUNS_KEPT + RUNS_SLACK,
    }
    await connection.execute(SCHEDULE, keys)


async def prune_thread(database: Database, tenant_id: TenantId, thread_id: str) -> Pruned:
    """Delete what no run of this thread needs any more; nothing of a conversation under legal hold."""
    async with tenant_tx(database, tenant_id, commit="checkpoints.prune") as connection:
        conversation = await (await connection.execute(HELD, {"thread_id": thread_id})).fetchone()
        if conversation is not None and conversation["held"]:
            return Pruned(0, 0)
        # Planned anew each time: a plan for any thread is a bad one for the few long threads.
        keys = {"thread_id": thread_id, "runs_kept": RUNS_KEPT}
        row = await (await connection.execute(PRUNE, keys, prepare=False)).fetchone()
    assert row is not None
    log.info("checkpoints_pruned", thread_id=thread_id, checkpoints=row["checkpoints"], runs=row["runs"])
    return Pruned(row["checkpoints"], row["runs"])
