"""Alembic's entry for a tenant's schema: writes the SQL between two versions and connects to nothing.

It is for whichever schema stands first in the search path; `db.tenant_schemas` runs it.
"""

from alembic import context

context.configure(dialect_name="postgresql", version_table="schema_version", dialect_opts={"paramstyle": "named"})
context.run_migrations()
