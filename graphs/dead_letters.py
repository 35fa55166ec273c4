"""Dead letters: everything that ended badly and waits for an operator, in one listing.

A dead letter's id is `<kind>:<id>`. Everything here is asked for on behalf of one tenant and finds only what is that
tenant's, or on behalf of the installation and finds only what belongs to no tenant.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, cast, get_args

from psycopg.rows import DictRow

from core.crypto import Sealer
from core.errors import NotFound, RequestInvalid
from core.ids import TenantId
from db.pools import Connection, Database
from db.transactions import queue_tx, tenant_tx
from inbox import dead_letters as inbox
from outbox import parked

LetterKind: TypeAlias = Literal["body", "event", "job", "effect", "run"]

KINDS: tuple[LetterKind, ...] = get_args(LetterKind)
#: Bodies and events have numbers of the database; everything else has an id of ours.
LETTER_ID_PATTERN = r"^(?:(?:body|event):[1-9][0-9]{0,17}|(?:job|effect|run):[a-z0-9_]{1,64})$"

RUNS = """
SELECT 'run:' || dead.id AS id, 'run' AS kind, dead.tenant_id, dead.kind || '/' || dead.graph AS what,
  dead.error AS cause, dead.attempts, dead.conversation_id, c.account_id, dead.trace_id, dead.created_at,
  dead.finished_at AS died_at
FROM core.runs dead LEFT JOIN conversations c ON c.id = dead.conversation_id WHERE dead.state IN ('failed', 'dead')
"""

RUN_DETAIL = """
SELECT dead.kind AS run_kind, dead.graph, dead.graph_version, dead.state, dead.thread_id, dead.parent_id, dead.dry_run,
  dead.model, dead.started_at,
  (SELECT node FROM core.run_steps s WHERE s.run_id = dead.id ORDER BY position DESC LIMIT 1) AS last_node
FROM core.runs dead WHERE dead.id = %(key)s
"""

OF_KIND: dict[LetterKind, str] = {
    "body": inbox.BODIES,
    "event": inbox.EVENTS,
    "job": inbox.JOBS,
    "effect": parked.PARKED,
    "run": RUNS,
}

DETAIL_OF_KIND: dict[LetterKind, str] = {
    "body": inbox.BODY_DETAIL,
    "event": inbox.EVENT_DETAIL,
    "job": inbox.JOB_DETAIL,
    "effect": parked.DETAIL,
    "run": RUN_DETAIL,
}

#: What may belong to no tenant.
UNROUTED_KINDS: tuple[LetterKind, ...] = ("body", "event")

PAGE = """
SELECT * FROM ({letters}) AS letter
WHERE %(before)s::timestamptz IS NULL OR (coalesce(died_at, created_at), id) < (%(before)s, %(before_id)s)
ORDER BY coalesce(died_at, created_at) DESC, id DESC LIMIT %(limit)s
"""

TENANTS = """
SELECT tenant_id FROM core.inbox WHERE state = 'dead' AND error IS NOT NULL
UNION SELECT tenant_id FROM core.inbox_events WHERE state = 'dead'
UNION SELECT tenant_id FROM core.jobs WHERE state = 'dead'
UNION SELECT tenant_id FROM core.effects WHERE state = 'parked'
UNION SELECT tenant_id FROM core.runs WHERE state IN ('failed', 'dead')
ORDER BY tenant_id
"""

TABLE_OF_KIND: dict[LetterKind, str] = {
    "body": "core.inbox",
    "event": "core.inbox_events",
    "job": "core.jobs",
    "effect": "core.effects",
    "run": "core.runs",
}


@dataclass(frozen=True, slots=True)
class Unrouted:
    """In place of a tenant: what belongs to none, which only an operator of the installation deals with."""

    #: Opens an event and seals it anew for the account that it turned out to be for.
    sealer: Sealer


#: On whose dead letters one looks or acts.
Whose: TypeAlias = TenantId | Unrouted


@dataclass(frozen=True, slots=True)
class LetterId:
    """What a dead letter is called; as text `<kind>:<id>`."""

    kind: LetterKind
    key: str

    def __str__(self) -> str:
        """The text that `parse_letter_id` reads."""
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One thing that ended badly. `what` is its own kind, `cause` what went wrong; `died_at` where that is known."""

    id: str
    kind: LetterKind
    tenant_id: TenantId | None
    what: str
    cause: str | None
    attempts: int
    conversation_id: str | None
    #: The account, or the app that serves several.
    account_id: str | None
    trace_id: str
    created_at: datetime
    died_at: datetime | None

    @property
    def at(self) -> datetime:
        """Its place in the listing: when it died, or where nobody knows, when it began."""
        return self.died_at or self.created_at


def parse_letter_id(text: str) -> LetterId:
    """The id that this text is.

    Raises:
        RequestInvalid: it is none.
    """
    if re.fullmatch(LETTER_ID_PATTERN, text) is None:
        raise RequestInvalid(
            f"{text[:64]!r} is no dead letter's id; one looks like event:123 or job:job_01jd3m…, its kind one of"
            f" {', '.join(KINDS)}"
        )
    kind, _, key = text.partition(":")
    return LetterId(cast("LetterKind", kind), key)


async def list_dead_letters(
    database: Database,
    whose: Whose,
    *,
    kind: LetterKind | None = None,
    before: tuple[datetime, str] | None = None,
    limit: int,
) -> list[DeadLetter]:
    """Up to `limit` dead letters, the latest first; those after the one that stands `before` (its `at` and `id`)."""
    there_are: tuple[LetterKind, ...] = UNROUTED_KINDS if isinstance(whose, Unrouted) else KINDS
    wanted: list[LetterKind] = [one for one in there_are if kind in (None, one)]
    if not wanted:
        return []
    statement = PAGE.format(letters=" UNION ALL ".join(OF_KIND[one] for one in wanted))
    keys = {"before": before and before[0], "before_id": before and before[1], "limit": limit}
    async with looking(database, whose) as connection:
        rows = await (await connection.execute(statement.encode(), keys)).fetchall()
    return [DeadLetter(**row) for row in rows]


async def get_dead_letter(database: Database, whose: Whose, letter: LetterId) -> tuple[DeadLetter, DictRow]:
    """One dead letter and what its kind knows besides; never what a stranger sent.

    Raises:
        NotFound: there is none, or it is not dead.
    """
    if isinstance(whose, Unrouted) and letter.kind not in UNROUTED_KINDS:
        raise unknown_letter(letter)
    keys = {"key": _key(letter)}
    async with looking(database, whose) as connection:
        found = await connection.execute(f"{OF_KIND[letter.kind]} AND dead.id = %(key)s".encode(), keys)
        row = await found.fetchone()
        if row is None:
            raise unknown_letter(letter)
        detail = await (await connection.execute(DETAIL_OF_KIND[letter.kind].encode(), keys)).fetchone()
    if detail is None:
        raise unknown_letter(letter)
    return DeadLetter(**row), detail


async def tenants_with_dead_letters(database: Database) -> list[TenantId]:
    """Every tenant that has any; for an operator of the installation."""
    async with queue_tx(database, commit="dead_letters.tenants") as connection:
        rows = await (await connection.execute(TENANTS)).fetchall()
    return [TenantId(row["tenant_id"]) for row in rows if row["tenant_id"] is not None]


async def tenant_of_letter(database: Database, letter: LetterId) -> TenantId | None:
    """Whose it is, None where it is nobody's; for an operator of the installation.

    Raises:
        NotFound: there is no such thing.
    """
    statement = f"SELECT tenant_id FROM {TABLE_OF_KIND[letter.kind]} WHERE id = %(key)s"
    async with queue_tx(database, commit="dead_letters.tenant_of") as connection:
        row = await (await connection.execute(statement.encode(), {"key": _key(letter)})).fetchone()
    if row is None:
        raise unknown_letter(letter)
    return row["tenant_id"]


@asynccontextmanager
async def looking(database: Database, whose: Whose) -> AsyncGenerator[Connection, None]:
    """A transaction that sees what one may act on: as the tenant, or as the queue role what belongs to no tenant."""
    if isinstance(whose, Unrouted):
        async with queue_tx(database, commit="dead_letters.look_unrouted") as connection:
            yield connection
    else:
        async with tenant_tx(database, whose, commit="dead_letters.look") as connection:
            yield connection


def unknown_letter(letter: LetterId) -> NotFound:
    """The error for a letter that is not there, or not of whoever asks."""
    return NotFound(f"there is no dead letter {letter}")


def _key(letter: LetterId) -> int | str:
    return int(letter.key) if letter.kind in UNROUTED_KINDS else letter.key
