"""What operating runs needs: forks and replays, questions that wait, answers, dead letters that are let go."""

from alembic import op

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None

RUNS = """
ALTER TABLE core.runs
  -- A dry run queues no effects and acts on nothing.
  ADD COLUMN dry_run boolean NOT NULL DEFAULT false,
  -- Who else may not run at the same time: a dry run is alone, everything else shares its conversation's lease.
  ADD COLUMN lease_id text GENERATED ALWAYS AS (CASE WHEN dry_run THEN id ELSE conversation_id END) STORED,
  -- Of a fork or a replay: {"run_id", "checkpoint_id" or null, "values": what was edited}.
  ADD COLUMN origin jsonb,
  -- The questions that are open while it waits: [{"id", "slot", "asks", "question"}].
  ADD COLUMN interrupts jsonb NOT NULL DEFAULT '[]',
  -- What it is told at due_at if nobody answered.
  ADD COLUMN default_answer jsonb,
  -- Whether its end begins a turn of its conversation, and which turn has seen that end.
  ADD COLUMN wake boolean NOT NULL DEFAULT false,
  ADD COLUMN reported_to text,
  -- What it wanted to have done, as JSON drafts.
  ADD COLUMN effects jsonb,
  ADD COLUMN cancel_requested_at timestamptz,
  ADD COLUMN cost_usd_micros bigint NOT NULL DEFAULT 0,
  -- Whether its checkpoints still stand; what is pruned can be forked and replayed from its start only.
  ADD COLUMN checkpoints_kept boolean NOT NULL DEFAULT true;

ALTER TABLE core.run_steps
  ADD COLUMN cost_usd_micros bigint NOT NULL DEFAULT 0,
  -- The checkpoint that holds the state after it; none for a step inside an agent.
  ADD COLUMN checkpoint_id text;

ALTER TABLE core.run_commands
  ADD COLUMN requested_by text NOT NULL DEFAULT '',
  ADD COLUMN result jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN finished_at timestamptz,
  DROP CONSTRAINT run_commands_kind_check,
  ADD CONSTRAINT run_commands_kind_check CHECK (kind IN ('resume', 'cancel', 'fork', 'replay', 'retry', 'discard'));
CREATE INDEX call_receipts_of_run ON core.call_receipts (tenant_id, run_id);
CREATE INDEX run_commands_of_run ON core.run_commands (run_id, created_at);

-- A turn that is tried again after its death has begun already and stands beside one that waits to begin.
DROP INDEX core.runs_one_queued_turn;
CREATE UNIQUE INDEX runs_one_queued_turn ON core.runs (conversation_id)
  WHERE kind = 'turn' AND state = 'queued' AND started_at IS NULL;
DROP INDEX core.runs_due;
CREATE INDEX runs_due ON core.runs (tenant_id, due_at) WHERE state IN ('queued', 'running');
CREATE INDEX runs_begun ON core.runs (lease_id) WHERE state = 'running';
CREATE INDEX runs_waiting_due ON core.runs (due_at) WHERE state = 'waiting';
CREATE INDEX runs_of_tenant ON core.runs (tenant_id, created_at, id);
CREATE INDEX runs_of_thread ON core.runs (thread_id, created_at);
CREATE INDEX runs_dead ON core.runs (tenant_id, finished_at) WHERE state IN ('failed', 'dead');
CREATE INDEX runs_unreported ON core.runs (conversation_id)
  WHERE kind <> 'turn' AND reported_to IS NULL AND state IN ('succeeded', 'failed', 'dead', 'cancelled');
"""

#: A dead letter that an operator lets go of keeps its row and its cause.
DEAD_LETTERS = """
ALTER TABLE core.inbox DROP CONSTRAINT inbox_state_check,
  ADD CONSTRAINT inbox_state_check CHECK (state IN ('new', 'split', 'done', 'dead', 'discarded'));
ALTER TABLE core.inbox_events DROP CONSTRAINT inbox_events_state_check,
  ADD CONSTRAINT inbox_events_state_check CHECK (state IN ('new', 'done', 'dead', 'discarded'));
ALTER TABLE core.jobs DROP CONSTRAINT jobs_state_check,
  ADD CONSTRAINT jobs_state_check CHECK (state IN ('queued', 'done', 'dead', 'discarded'));
ALTER TABLE core.effects DROP CONSTRAINT effects_state_check,
  ADD CONSTRAINT effects_state_check CHECK (state IN
    ('queued', 'sending', 'sent', 'unknown', 'parked', 'failed', 'superseded', 'discarded'));
CREATE INDEX inbox_dead ON core.inbox (id) WHERE state = 'dead';
CREATE INDEX inbox_events_dead ON core.inbox_events (id) WHERE state = 'dead';
CREATE INDEX jobs_done ON core.jobs (finished_at) WHERE state = 'done';
CREATE INDEX jobs_dead ON core.jobs (tenant_id, finished_at) WHERE state = 'dead';
CREATE INDEX effects_parked ON core.effects (tenant_id, created_at) WHERE state = 'parked';
"""

#: The inbox is claimed in turns: by tenant, then by account. A body of an app belongs to no tenant yet.
INBOX = """
DROP INDEX core.inbox_new;
CREATE INDEX inbox_new ON core.inbox (coalesce(tenant_id, source_id), source_id, id) WHERE state = 'new';
DROP INDEX core.inbox_events_new;
CREATE INDEX inbox_events_new ON core.inbox_events (tenant_id, account_id, id) WHERE state = 'new';
"""

#: The first answer to a request that acts, for whoever sends the same request again under the same key.
IDEMPOTENCY = """
CREATE TABLE core.idempotency_keys (
  tenant_id text NOT NULL,
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  -- Method and path.
  route text NOT NULL,
  body_sha256 bytea NOT NULL,
  status smallint NOT NULL,
  -- As it was sent, to the order of its fields, which jsonb would not keep.
  answer json NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, key)
);
ALTER TABLE core.idempotency_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON core.idempotency_keys TO chowk_owner USING (true) WITH CHECK (true);
CREATE POLICY tenant ON core.idempotency_keys TO chowk_tenant
  USING (tenant_id = current_user) WITH CHECK (tenant_id = current_user);
CREATE POLICY queue ON core.idempotency_keys TO chowk_queue USING (true) WITH CHECK (true);
GRANT SELECT, INSERT ON core.idempotency_keys TO chowk_tenant;
GRANT SELECT (created_at), DELETE ON core.idempotency_keys TO chowk_queue;
"""

RIGHTS = """
GRANT DELETE ON core.jobs TO chowk_queue;
GRANT SELECT (id, tenant_id, source_id, channel, body_bytes, state, attempts, error, trace_id, received_at),
      UPDATE (state, attempts, lease_until, error)
  ON core.inbox TO chowk_tenant;
GRANT SELECT (graph, thread_id, graph_version, dry_run, lease_id, cancel_requested_at, finished_at, checkpoints_kept)
  ON core.runs TO chowk_queue;
"""


def upgrade() -> None:
    """Add columns, states, indexes and rights."""
    op.execute(RUNS)
    op.execute(DEAD_LETTERS)
    op.execute(INBOX)
    op.execute(IDEMPOTENCY)
    op.execute(RIGHTS)
