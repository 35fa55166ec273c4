"""The shared schema: who may send, what came in, what runs, what is due, what goes out."""

from alembic import op

revision = "core_0001"
down_revision = None
branch_labels = None
depends_on = None

#: Tables with a tenant_id, and whether a tenant may read, insert, update, delete its rows.
TENANT_RIGHTS = {
    "tenants": "SELECT",
    "accounts": "SELECT, UPDATE",
    "api_keys": "SELECT, INSERT, UPDATE",
    "inbox_events": "SELECT, UPDATE",
    "runs": "SELECT, INSERT, UPDATE",
    "run_steps": "SELECT, INSERT",
    "run_commands": "SELECT, INSERT, UPDATE",
    "conversation_leases": "SELECT, INSERT, UPDATE",
    "jobs": "SELECT, INSERT, UPDATE",
    "effects": "SELECT, INSERT, UPDATE",
    "call_receipts": "SELECT, INSERT, UPDATE",
}

#: What the queue role may touch: states and leases, and of the inbox what splitting must read.
QUEUE_RIGHTS = """
GRANT SELECT (id, slug, name, settings) ON core.tenants TO chowk_queue;
GRANT SELECT (id, tenant_id, channel, external_id, app_id, state) ON core.accounts TO chowk_queue;
GRANT SELECT, UPDATE ON core.inbox TO chowk_queue;
GRANT INSERT ON core.inbox_events TO chowk_queue;
GRANT SELECT, UPDATE ON core.inbox_events TO chowk_queue;
GRANT SELECT (id, tenant_id, conversation_id, kind, state, lane, due_at, started_at, lease_until, fence, attempts, trace_id,
              created_at), UPDATE (state, lease_until, fence, attempts, error, finished_at, started_at, worker)
  ON core.runs TO chowk_queue;
GRANT SELECT, UPDATE ON core.conversation_leases TO chowk_queue;
GRANT SELECT (id, tenant_id, kind, state, lane, due_at, lease_until, fence, attempts, trace_id, conversation_id,
              account_id, sending_at, created_at),
      UPDATE (state, lease_until, fence, attempts, error)
  ON core.effects TO chowk_queue;
GRANT SELECT, INSERT, UPDATE ON core.jobs TO chowk_queue;
GRANT SELECT, INSERT ON core.prompt_texts TO chowk_queue;
GRANT SELECT ON core.schema_version TO chowk_queue;
"""

TABLES = """
CREATE TABLE core.tenants (
  id text PRIMARY KEY CHECK (id ~ '^t_[0-9a-z]{26}$'),
  tenant_id text GENERATED ALWAYS AS (id) STORED,
  slug text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9-]{1,63}$'),
  name text NOT NULL,
  settings jsonb NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now()
);

-- An app of a provider that serves accounts of several tenants (one Meta app, many numbers).
CREATE TABLE core.apps (
  id text PRIMARY KEY,
  provider text NOT NULL UNIQUE,
  name text NOT NULL,
  secrets_sealed bytea NOT NULL,
  secrets_wrapped_key bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE core.accounts (
  id text PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES core.tenants,
  channel text NOT NULL,
  external_id text NOT NULL,
  app_id text REFERENCES core.apps,
  name text NOT NULL,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'stopped')),
  stop_reason text,
  debounce_ms integer CHECK (debounce_ms BETWEEN 0 AND 60000),
  secrets_sealed bytea NOT NULL,
  secrets_wrapped_key bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (channel, external_id)
);

CREATE TABLE core.api_keys (
  id text PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES core.tenants,
  name text NOT NULL,
  secret_sha256 bytea NOT NULL UNIQUE,
  scopes text[] NOT NULL DEFAULT '{}',
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz
);

-- One row per webhook POST. The body is sealed; its key is deleted once it is no longer needed.
CREATE TABLE core.inbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source_id text NOT NULL,
  tenant_id text,
  channel text NOT NULL,
  verdict text NOT NULL CHECK (verdict IN ('signed', 'hint')),
  dedupe_key bytea NOT NULL,
  body_bytes integer NOT NULL,
  body_sealed bytea,
  body_wrapped_key bytea,
  body_blob text,
  body_masked text,
  sensitive boolean NOT NULL DEFAULT false,
  lane text NOT NULL DEFAULT 'interactive',
  state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'split', 'done', 'dead')),
  attempts smallint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  error text,
  trace_id text NOT NULL DEFAULT '',
  received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- The hash first: one comparison settles it, where the ids of one source are all alike.
  UNIQUE (dedupe_key, source_id)
);
CREATE INDEX inbox_new ON core.inbox (id) WHERE state = 'new';
CREATE INDEX inbox_unfinished ON core.inbox (id) WHERE state = 'split';
CREATE INDEX inbox_blobs ON core.inbox (body_blob) WHERE body_blob IS NOT NULL;
CREATE INDEX inbox_retained ON core.inbox (received_at) WHERE state IN ('done', 'dead') AND body_wrapped_key IS NOT NULL;

-- One row per event of a body, with its tenant. `account_id` of an event that belongs to nobody is its source.
CREATE TABLE core.inbox_events (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  inbox_id bigint NOT NULL REFERENCES core.inbox,
  position integer NOT NULL,
  tenant_id text,
  account_id text NOT NULL,
  event_key text NOT NULL,
  kind text NOT NULL,
  event_sealed bytea,
  event_wrapped_key bytea,
  state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'dead')),
  attempts smallint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  error text,
  trace_id text NOT NULL DEFAULT '',
  received_at timestamptz NOT NULL,
  UNIQUE (account_id, event_key)
);
CREATE INDEX inbox_events_new ON core.inbox_events (id) WHERE state = 'new';
CREATE INDEX inbox_events_of_body ON core.inbox_events (inbox_id) WHERE state <> 'done';

-- Who may advance a conversation now. The fence grows with every claim; a commit under an old fence is void.
CREATE TABLE core.conversation_leases (
  conversation_id text PRIMARY KEY,
  tenant_id text NOT NULL,
  fence bigint NOT NULL DEFAULT 0,
  run_id text,
  lease_until timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE core.runs (
  id text PRIMARY KEY,
  tenant_id text NOT NULL,
  conversation_id text NOT NULL,
  parent_id text,
  kind text NOT NULL,
  graph text NOT NULL,
  thread_id text NOT NULL CHECK (thread_id ~ '^[a-z0-9_-]{1,64}$'),
  state text NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'dead', 'cancelled')),
  outcome text,
  lane text NOT NULL DEFAULT 'interactive',
  due_at timestamptz NOT NULL DEFAULT now(),
  lease_until timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  attempts smallint NOT NULL DEFAULT 0,
  worker text,
  graph_version text,
  prompt_refs jsonb,
  model text,
  input jsonb,
  waits_for jsonb,
  tokens_in integer NOT NULL DEFAULT 0,
  tokens_out integer NOT NULL DEFAULT 0,
  error text,
  trace_id text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz
);
-- At most one turn of a conversation waits to begin; whatever arrives meanwhile joins it.
CREATE UNIQUE INDEX runs_one_queued_turn ON core.runs (conversation_id) WHERE kind = 'turn' AND state = 'queued';
CREATE INDEX runs_due ON core.runs (due_at) WHERE state IN ('queued', 'running');
CREATE INDEX runs_waiting ON core.runs (conversation_id) WHERE state = 'waiting';
CREATE INDEX runs_of_conversation ON core.runs (conversation_id, created_at);

CREATE TABLE core.run_steps (
  run_id text NOT NULL,
  position integer NOT NULL,
  tenant_id text NOT NULL,
  node text NOT NULL,
  namespace text NOT NULL DEFAULT '',
  author text NOT NULL,
  attempt smallint NOT NULL,
  started_at timestamptz NOT NULL,
  duration_ms double precision NOT NULL,
  tokens_in integer NOT NULL DEFAULT 0,
  tokens_out integer NOT NULL DEFAULT 0,
  prompt_ref text,
  tool_calls jsonb NOT NULL DEFAULT '[]',
  memory_hits jsonb NOT NULL DEFAULT '[]',
  state_diff jsonb NOT NULL DEFAULT '{}',
  error text,
  PRIMARY KEY (run_id, position)
);

-- What people and programs ask of a run; an interrupt is answered once.
CREATE TABLE core.run_commands (
  id text PRIMARY KEY,
  tenant_id text NOT NULL,
  run_id text NOT NULL REFERENCES core.runs,
  kind text NOT NULL CHECK (kind IN ('resume', 'cancel', 'fork', 'replay')),
  interrupt_id text,
  payload jsonb NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'refused')),
  error text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (run_id, interrupt_id)
);

CREATE TABLE core.jobs (
  id text PRIMARY KEY,
  tenant_id text NOT NULL,
  kind text NOT NULL,
  unique_key text NOT NULL,
  lane text NOT NULL DEFAULT 'background',
  due_at timestamptz NOT NULL,
  payload jsonb NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'dead')),
  attempts smallint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  error text,
  trace_id text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz
);
CREATE UNIQUE INDEX jobs_unique ON core.jobs (tenant_id, kind, unique_key) WHERE state = 'queued';
CREATE INDEX jobs_due ON core.jobs (due_at) WHERE state = 'queued';

-- The outbox. `key` is the same however often the run is repeated, so an effect exists once.
CREATE TABLE core.effects (
  id text PRIMARY KEY,
  tenant_id text NOT NULL,
  key text NOT NULL,
  kind text NOT NULL,
  run_id text,
  conversation_id text NOT NULL,
  account_id text NOT NULL,
  message_id text,
  payload jsonb NOT NULL,
  delivery text NOT NULL CHECK (delivery IN ('at_least_once', 'at_most_once')),
  lane text NOT NULL DEFAULT 'interactive',
  state text NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'sending', 'sent', 'unknown', 'parked', 'failed', 'superseded')),
  due_at timestamptz NOT NULL DEFAULT now(),
  attempts smallint NOT NULL DEFAULT 0,
  -- How often it was sent again because the provider never said what became of it.
  resends smallint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  fence bigint NOT NULL DEFAULT 0,
  sending_at timestamptz,
  provider_message_id text,
  error text,
  trace_id text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (tenant_id, key)
);
CREATE INDEX effects_due ON core.effects (tenant_id, due_at) WHERE state IN ('queued', 'sending', 'unknown');
CREATE INDEX effects_unsent_of_conversation ON core.effects (conversation_id, created_at) WHERE state IN ('queued', 'sending');

-- Answers of calls that acted on the world: a repeated run gets the stored one.
CREATE TABLE core.call_receipts (
  tenant_id text NOT NULL,
  key text NOT NULL,
  run_id text NOT NULL,
  tool text NOT NULL,
  state text NOT NULL CHECK (state IN ('calling', 'done', 'refused')),
  request_sha256 bytea NOT NULL,
  response jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, key)
);

-- The words of every prompt version that any run began with.
CREATE TABLE core.prompt_texts (
  sha256 text PRIMARY KEY,
  id text NOT NULL,
  version text NOT NULL,
  text text NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now()
);
"""

FUNCTIONS = """
-- The one look-up of the webhook edge: who may send here, and the sealed secrets to check with.
CREATE FUNCTION core.webhook_source(source text)
RETURNS TABLE (source_id text, tenant_id text, channel text, secrets_sealed bytea, secrets_wrapped_key bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = core, pg_temp AS $$
  SELECT a.id, a.tenant_id, a.channel, a.secrets_sealed, a.secrets_wrapped_key FROM core.accounts a WHERE a.id = source
  UNION ALL
  SELECT p.id, NULL, p.provider, p.secrets_sealed, p.secrets_wrapped_key FROM core.apps p WHERE p.provider = source
$$;

CREATE FUNCTION core.api_key_by_hash(hash bytea)
RETURNS TABLE (id text, tenant_id text, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = core, pg_temp AS $$
  SELECT k.id, k.tenant_id, k.scopes FROM core.api_keys k
  WHERE k.secret_sha256 = hash AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA core FROM PUBLIC;
GRANT EXECUTE ON FUNCTION core.webhook_source(text), core.api_key_by_hash(bytea) TO chowk_edge;
"""

EDGE_RIGHTS = """
GRANT INSERT (source_id, tenant_id, channel, verdict, dedupe_key, body_bytes, body_sealed, body_wrapped_key, body_blob,
              lane, trace_id) ON core.inbox TO chowk_edge;
"""

#: Queue tables of which the queue role sees every tenant's rows.
QUEUE_TABLES = ("tenants", "accounts", "inbox", "inbox_events", "runs", "conversation_leases", "effects", "jobs")


def upgrade() -> None:
    """Create tables, functions, rights and row-level security."""
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    op.execute("GRANT USAGE ON SCHEMA core TO chowk_tenant, chowk_edge, chowk_queue")
    op.execute(EDGE_RIGHTS)
    op.execute(QUEUE_RIGHTS)
    op.execute("GRANT SELECT ON core.prompt_texts TO chowk_tenant")
    for table, rights in TENANT_RIGHTS.items():
        op.execute(f"GRANT {rights} ON core.{table} TO chowk_tenant")
    for table in (*TENANT_RIGHTS, "inbox"):
        op.execute(f"ALTER TABLE core.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY owner ON core.{table} TO chowk_owner USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY tenant ON core.{table} TO chowk_tenant "
            "USING (tenant_id = current_user) WITH CHECK (tenant_id = current_user)"
        )
    for table in QUEUE_TABLES:
        op.execute(f"CREATE POLICY queue ON core.{table} TO chowk_queue USING (true) WITH CHECK (true)")
    op.execute("CREATE POLICY edge ON core.inbox FOR INSERT TO chowk_edge WITH CHECK (true)")
