"""Alembic's entry for one tenant's schema: runs on the connection that `db.migrate` hands over, search path set."""

from alembic import context

connection = context.config.attributes["connection"]
tenant_id = context.config.attributes["tenant_id"]
context.configure(connection=connection, version_table="schema_version", version_table_schema=tenant_id)
with context.begin_transaction():
    context.run_migrations()
