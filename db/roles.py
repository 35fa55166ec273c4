"""The database's roles: who owns, who logs in, and the narrow roles that a transaction becomes.

chowk_owner   owns everything and migrates; no login
chowk_app     the only login of API, workers and services; no rights of its own
chowk_edge    inserts into the inbox
chowk_queue   claims, leases and sweeps over all tenants
chowk_tenant  carries the grants that every tenant's role inherits; nobody becomes it
t_<ulid>      one per tenant: its schema, and its rows of `core`
"""

from typing import Any

from psycopg import Connection, sql

NARROW_ROLES = ("chowk_edge", "chowk_queue")
#: Roles without a login.
GROUP_ROLES = ("chowk_owner", "chowk_tenant", *NARROW_ROLES)


def create_roles(connection: Connection[Any], *, app_password: str | None) -> None:  # Any: rows are not read here
    """Make the roles that are missing and set the login's password when one is given. Needs CREATEROLE."""
    for role in GROUP_ROLES:
        _create(connection, role, "NOLOGIN")
    _create(connection, "chowk_app", "LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB")
    if app_password is not None:
        statement = sql.SQL("ALTER ROLE chowk_app PASSWORD {}").format(sql.Literal(app_password))
        connection.execute(statement)
    for role in NARROW_ROLES:
        connection.execute(f"GRANT {role} TO chowk_app WITH INHERIT FALSE, SET TRUE".encode())
    connection.execute("GRANT chowk_owner TO CURRENT_USER")


def create_tenant_role(connection: Connection[Any], tenant_id: str) -> None:  # Any: rows are not read here
    """Make one tenant's role, which nobody may become yet."""
    connection.execute(f"CREATE ROLE {tenant_id} NOLOGIN".encode())


def admit_tenant_role(connection: Connection[Any], tenant_id: str) -> None:  # Any: rows are not read here
    """Let the application become a tenant's role, which inherits only the tenants' common grants.

    Belongs at the end of a transaction: until it commits, no other tenant can be given those grants.
    """
    connection.execute(
        f"""GRANT chowk_tenant TO {tenant_id} WITH INHERIT TRUE, SET FALSE;
            GRANT {tenant_id} TO chowk_app, chowk_owner WITH INHERIT FALSE, SET TRUE""".encode()
    )


def _create(connection: Connection[Any], role: str, attributes: str) -> None:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    if found is None:
        connection.execute(f"CREATE ROLE {role} {attributes}".encode())
