"""Alembic's entry as its own documentation has it for one schema of many: online, on a connection handed over."""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"], version_table="schema_version", version_table_schema=attributes["schema"]
)
with context.begin_transaction():
    context.run_migrations()
