"""Migrations: roles and the shared schema, then every tenant's schema, several at once. Runs as an administrator.

`core` is one transaction, and so is each tenant: one that cannot be migrated stops no other. Safe to run again, which
goes on with whatever is behind, and beside itself: an advisory lock for `core` and one per tenant.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import psycopg
from alembic import command
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.errors import ChowkError
from core.ids import TenantId
from db.administrator import ATTEMPTS_MAX, MIGRATION_LOCK_TIMEOUT_MS, PASSING, alone, pause_s, retried, session
from db.faults import fault
from db.roles import create_roles
from db.tenant_schemas import TenantSchema, bring_up, list_schemas
from db.versions import Kind, config_of, needed_versions, newest_versions, number

PARALLEL = 4
#: A backend keeps the catalogue of every schema it has met in memory, so each connection serves only so many.
TENANTS_PER_CONNECTION = 50


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a migration is: of `total` tenants that were behind. A tenant that failed may yet be tried again."""

    migrated: int
    failed: int
    total: int
    seconds: float

    @property
    def rate_per_s(self) -> float:
        """Tenants migrated per second so far."""
        return self.migrated / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A tenant that is still behind, and why."""

    tenant_id: TenantId
    slug: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a migration did. `versions` is what it led to; `current` are the tenants that were there already."""

    versions: dict[Kind, str]
    tenants: int
    migrated: int
    current: int
    failures: tuple[Failure, ...]
    seconds: float


class MigrationIncomplete(ChowkError):
    """Something could not be migrated; the rest was. Mend what the reasons say and run the migration again."""

    retryable = True

    def __init__(self, message: str, outcome: Outcome | None = None) -> None:
        super().__init__(message)
        #: None where not even `core` was migrated.
        self.outcome = outcome


def migrate(
    admin_url: str,
    *,
    app_password: str | None = None,
    post: bool = True,
    parallel: int = PARALLEL,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Bring roles, `core` and every tenant's schema to the newest version.

    Args:
        admin_url: an administrator's database URL.
        app_password: what to make the password of the login `chowk_app`; None leaves it.
        post: whether to go on to the `post_` migrations that follow the newest `pre_`.
        parallel: how many tenants to migrate at once, each over a connection of its own.
        on_progress: called after each tenant, by one thread at a time.

    Raises:
        SettingInvalid: the server is too old.
        MigrationIncomplete: `core`, or some of the tenants, are still behind; its `outcome` says which and why.
    """
    target = newest_versions() if post else needed_versions()
    try:
        retried(lambda: _migrate_core(admin_url, target["core"], app_password=app_password))
    except DBAPIError as error:
        if not isinstance(error.orig, PASSING):
            raise
        raise MigrationIncomplete(f"nothing was migrated: `core` {_why(error.orig)}") from error
    run = _Run(admin_url, target["tenant"], on_progress)
    tenants = run.until_done(parallel)
    outcome = Outcome(
        target, tenants, run.migrated, tenants - run.migrated - len(run.failures), tuple(run.failures.values()),
        time.monotonic() - run.began,
    )  # fmt: skip
    if outcome.failures:
        shown = "; ".join(f"{failure.slug} ({failure.tenant_id}): {failure.reason}" for failure in outcome.failures[:5])
        left = f"{len(outcome.failures)} of {tenants} tenant(s) are not at {target['tenant']}"
        raise MigrationIncomplete(f"{left}: {shown}; mend that and run `chowk migrate` again", outcome)
    return outcome


def _migrate_core(admin_url: str, target: str, *, app_password: str | None) -> None:
    with alone(admin_url, lock_timeout_ms=MIGRATION_LOCK_TIMEOUT_MS) as connection:
        create_roles(_driver(connection), app_password=app_password)
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"))
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS core AUTHORIZATION chowk_owner"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        connection.execute(text("SET ROLE chowk_owner"))
        if number(_core_version(connection)) < number(target):
            config = config_of("core")
            config.attributes["connection"] = connection
            command.upgrade(config, target)
        fault("migrate.core.before_commit")
    fault("migrate.core.after_commit")


def _core_version(connection: SqlConnection) -> str | None:
    if connection.execute(text("SELECT to_regclass('core.schema_version')")).scalar() is None:
        return None
    return connection.execute(text("SELECT version_num FROM core.schema_version")).scalar()


def _driver(connection: SqlConnection) -> Any:  # Any: SQLAlchemy does not type the connection below it
    return connection.connection.driver_connection


@dataclass(slots=True)
class _Run:
    """The tenants' part of one migration, and its count, which the threads share."""

    admin_url: str
    target: str
    on_progress: Callable[[Progress], None] | None
    began: float = field(default_factory=time.monotonic)
    total: int = 0
    migrated: int = 0
    failures: dict[TenantId, Failure] = field(default_factory=dict[TenantId, Failure])
    #: Tenants whose reason does not pass by itself.
    broken: set[TenantId] = field(default_factory=set[TenantId])
    stopped: bool = False
    lock: Lock = field(default_factory=Lock)

    def until_done(self, parallel: int) -> int:
        """Migrate whoever is behind, those that are made meanwhile too, in rounds; gives how many tenants there are."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            tenants, again = self.look()
            if not again:
                return tenants
            if self.failures.keys() - self.broken:
                time.sleep(pause_s(attempt - 1))
            self.round(again, parallel)
        tenants, again = self.look()
        for schema in again:
            unseen = Failure(schema.tenant_id, schema.slug, "was made by another version of Chowk while this one ran")
            self.failures.setdefault(schema.tenant_id, unseen)
        return tenants

    def look(self) -> tuple[int, list[TenantSchema]]:
        """How many tenants there are, and which of them a visit may help."""
        with session(self.admin_url) as connection:
            schemas = list_schemas(connection)
        behind = {schema.tenant_id: schema for schema in schemas if schema.is_behind(self.target)}
        self.failures = {failed: why for failed, why in self.failures.items() if failed in behind}
        self.total = self.migrated + len(behind)
        return len(schemas), [schema for schema in behind.values() if schema.tenant_id not in self.broken]

    def round(self, behind: Sequence[TenantSchema], parallel: int) -> None:
        """Visit each of these once."""
        size = min(TENANTS_PER_CONNECTION, -(-len(behind) // parallel))
        batches = [behind[start : start + size] for start in range(0, len(behind), size)]
        with ThreadPoolExecutor(parallel, thread_name_prefix="migrate") as threads:
            futures = [threads.submit(self.batch, batch) for batch in batches]
            try:
                _raise_first(futures)
            except BaseException:
                self.stopped = True
                threads.shutdown(cancel_futures=True)
                raise

    def batch(self, schemas: Sequence[TenantSchema]) -> None:
        """Visit these over one connection; over another one where the server ended it."""
        left = list(reversed(schemas))
        while left and not self.stopped:
            with session(self.admin_url) as connection:
                while left and not self.stopped and not connection.broken:
                    self.visit(connection, left.pop())

    def visit(self, connection: psycopg.Connection[Any], schema: TenantSchema) -> None:  # Any: rows are not read here
        """Migrate one tenant in a transaction of its own."""
        try:
            with connection.transaction():
                migrated = bring_up(connection, schema.tenant_id, self.target)
                fault("migrate.tenant.before_commit")
            fault("migrate.tenant.after_commit")
        except (psycopg.Error, ChowkError) as error:
            self.count(schema, error)
        else:
            self.count(schema, None, migrated=migrated)

    def count(self, schema: TenantSchema, error: Exception | None, *, migrated: bool = False) -> None:
        """Note what became of a visit, and tell the caller."""
        with self.lock:
            if error is None:
                self.failures.pop(schema.tenant_id, None)
                self.migrated += migrated
            else:
                self.failures[schema.tenant_id] = Failure(schema.tenant_id, schema.slug, _why(error))
                if not isinstance(error, psycopg.OperationalError):
                    self.broken.add(schema.tenant_id)
            if self.on_progress is not None:
                seconds = time.monotonic() - self.began
                self.on_progress(Progress(self.migrated, len(self.failures), self.total, seconds))


def _raise_first(futures: Sequence[Future[None]]) -> None:
    for future in as_completed(futures):
        future.result()


def _why(error: object) -> str:
    """The reason in one line. A server's DETAIL may quote rows, so it is left out."""
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return f"waited {MIGRATION_LOCK_TIMEOUT_MS / 1000:g} s for a lock that another session holds (see pg_locks)"
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return " ".join(str(error).split())
