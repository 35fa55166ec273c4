"""Alembic's entry for the shared schema `core`: runs on the connection that `db.migrate` hands over."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="schema_version", version_table_schema="core")
with context.begin_transaction():
    context.run_migrations()
