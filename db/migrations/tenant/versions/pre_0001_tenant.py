"""A tenant's own schema: people, conversations, messages, knowledge, checkpoints."""

from alembic import op

revision = "tenant_0001"
down_revision = None
branch_labels = None
depends_on = None

PEOPLE = """
CREATE TABLE contacts (
  id text PRIMARY KEY,
  name text,
  username text,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Every name a provider has for a contact, per account.
CREATE TABLE contact_identities (
  account_id text NOT NULL,
  kind text NOT NULL,
  value text NOT NULL,
  contact_id text NOT NULL REFERENCES contacts,
  PRIMARY KEY (account_id, kind, value)
);
CREATE INDEX ON contact_identities (contact_id);

-- `owner`: the agent answers; or it has handed off and a person has yet to come; or a person has come.
CREATE TABLE conversations (
  id text PRIMARY KEY,
  account_id text NOT NULL,
  contact_id text NOT NULL REFERENCES contacts,
  channel text NOT NULL,
  recipient jsonb NOT NULL,
  owner text NOT NULL DEFAULT 'agent' CHECK (owner IN ('agent', 'awaiting_person', 'person')),
  handed_off_at timestamptz,
  hand_off_reason text,
  hand_off_summary text,
  superseded_in_a_row smallint NOT NULL DEFAULT 0,
  summary text NOT NULL DEFAULT '',
  last_message_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (account_id, contact_id)
);
CREATE INDEX ON conversations (last_message_at DESC, id DESC);
"""

MESSAGES = """
CREATE TABLE messages (
  id text PRIMARY KEY,
  sequence bigint GENERATED ALWAYS AS IDENTITY,
  conversation_id text NOT NULL REFERENCES conversations,
  account_id text NOT NULL,
  direction text NOT NULL CHECK (direction IN ('inbound', 'outbound')),
  author text NOT NULL CHECK (author IN ('contact', 'agent', 'human', 'system')),
  kind text NOT NULL,
  text text,
  payload text,
  attachments jsonb NOT NULL DEFAULT '[]',
  reactions jsonb NOT NULL DEFAULT '{}',
  citations jsonb NOT NULL DEFAULT '[]',
  faults jsonb NOT NULL DEFAULT '[]',
  masked_hashes text[] NOT NULL DEFAULT '{}',
  provider_message_id text,
  reply_to text,
  provider_ts timestamptz,
  received_ts timestamptz NOT NULL DEFAULT clock_timestamp(),
  status text NOT NULL
    CHECK (status IN ('received', 'queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'unknown')),
  edited boolean NOT NULL DEFAULT false,
  deleted boolean NOT NULL DEFAULT false,
  -- The run that wrote it (outbound) or that answered it (inbound; null while unanswered).
  run_id text,
  needs_answer boolean NOT NULL DEFAULT false,
  effect_key text UNIQUE,
  trace_id text NOT NULL DEFAULT '',
  UNIQUE (account_id, provider_message_id)
);
CREATE INDEX ON messages (conversation_id, sequence);
CREATE INDEX messages_unanswered ON messages (conversation_id) WHERE needs_answer AND run_id IS NULL;

-- Edits, revokes and reactions, kept because they may arrive before the message that they change.
CREATE TABLE message_changes (
  account_id text NOT NULL,
  event_key text NOT NULL,
  target_message_id text NOT NULL,
  kind text NOT NULL CHECK (kind IN ('edit', 'revoke', 'reaction')),
  contact_id text NOT NULL REFERENCES contacts,
  text text,
  emoji text,
  provider_ts timestamptz,
  received_ts timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account_id, event_key)
);
CREATE INDEX ON message_changes (account_id, target_message_id);

-- Statuses as they came; a message shows the furthest of them. They may arrive before we know the provider's id.
CREATE TABLE message_statuses (
  account_id text NOT NULL,
  event_key text NOT NULL,
  provider_message_id text NOT NULL,
  correlation text,
  status text NOT NULL CHECK (status IN ('sent', 'delivered', 'read', 'failed')),
  faults jsonb NOT NULL DEFAULT '[]',
  provider_ts timestamptz,
  received_ts timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (account_id, event_key)
);
CREATE INDEX ON message_statuses (account_id, provider_message_id);
"""

KNOWLEDGE = """
CREATE TABLE knowledge_articles (
  id text PRIMARY KEY,
  title text NOT NULL,
  language text NOT NULL,
  tags text[] NOT NULL DEFAULT '{}',
  questions text[] NOT NULL DEFAULT '{}',
  body text NOT NULL,
  -- Of everything that is indexed, and of how it is: equal means that publishing again has nothing to do.
  content_sha256 text NOT NULL,
  updated date,
  published_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE knowledge_chunks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  article_id text NOT NULL REFERENCES knowledge_articles ON DELETE CASCADE,
  position integer NOT NULL,
  text text NOT NULL,
  UNIQUE (article_id, position)
);

-- Narrow on purpose: a scan over vectors that stand beside text takes four times as long.
CREATE TABLE knowledge_vectors (
  chunk_id bigint PRIMARY KEY REFERENCES knowledge_chunks ON DELETE CASCADE,
  model text NOT NULL,
  embedding public.vector(384) NOT NULL
);

CREATE TABLE knowledge_terms (
  chunk_id bigint PRIMARY KEY REFERENCES knowledge_chunks ON DELETE CASCADE,
  language text NOT NULL,
  terms tsvector NOT NULL
);
-- Neither compressed nor moved out of the row while it fits a page: every ranked row would have to be unpacked.
ALTER TABLE knowledge_terms ALTER COLUMN terms SET STORAGE MAIN;
ALTER TABLE knowledge_terms SET (toast_tuple_target = 8160);
-- Publishing is rare and searching is not: no pending list that each search would have to read through.
CREATE INDEX ON knowledge_terms USING gin (terms) WITH (fastupdate = off);

-- In how many chunks of a language a lexeme stands; the empty lexeme stands in all of them.
CREATE TABLE knowledge_lexemes (
  lexeme text NOT NULL,
  language text NOT NULL,
  chunks integer NOT NULL,
  PRIMARY KEY (lexeme, language)
);
"""

#: The tables of langgraph-checkpoint-postgres as its own set-up leaves them; a test compares the two.
CHECKPOINTS = """
CREATE TABLE checkpoint_migrations (v integer PRIMARY KEY);
INSERT INTO checkpoint_migrations SELECT generate_series(0, 9);

CREATE TABLE checkpoints (
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  checkpoint_id text NOT NULL,
  parent_checkpoint_id text,
  type text,
  checkpoint jsonb NOT NULL,
  metadata jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE TABLE checkpoint_blobs (
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  channel text NOT NULL,
  version text NOT NULL,
  type text NOT NULL,
  blob bytea,
  PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
);
CREATE TABLE checkpoint_writes (
  thread_id text NOT NULL,
  checkpoint_ns text NOT NULL DEFAULT '',
  checkpoint_id text NOT NULL,
  task_id text NOT NULL,
  idx integer NOT NULL,
  channel text NOT NULL,
  type text,
  blob bytea NOT NULL,
  task_path text NOT NULL DEFAULT '',
  PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
CREATE INDEX checkpoints_thread_id_idx ON checkpoints (thread_id);
CREATE INDEX checkpoint_blobs_thread_id_idx ON checkpoint_blobs (thread_id);
CREATE INDEX checkpoint_writes_thread_id_idx ON checkpoint_writes (thread_id);
"""


def upgrade() -> None:
    """Create the tables in the schema that stands first in the search path."""
    for statements in (PEOPLE, MESSAGES, KNOWLEDGE, CHECKPOINTS):
        op.execute(statements)
