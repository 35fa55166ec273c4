"""What an operator does about dead letters: try again, let go, or say that a message arrived after all.

Each act is guarded by the state that it finds, so doing it twice does it once. Who acts stands in the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

from core.errors import ChowkError, RequestInvalid
from core.ids import EffectId, RunId
from core.log import logger
from db.pools import Connection, Database
from db.transactions import tenant_tx
from graphs.dead_letters import UNROUTED_KINDS, LetterId, Unrouted, Whose, looking, unknown_letter
from inbox import dead_letters as inbox
from inbox.unrouted import route_event
from outbox import parked

log = logger(__name__)

Verb: TypeAlias = Literal["retry", "discard", "mark_sent"]

#: How many a bulk act takes on at once: of those that are named, and of a kind.
BULK_IDS_MAX = 200
BULK_OF_KIND_MAX = 1_000
REASON_CHARACTERS_MAX = 500


@dataclass(frozen=True, slots=True)
class Act:
    """What is done about a dead letter. `by` names who does it; `reason` says why it is let go."""

    verb: Verb
    by: str
    reason: str = ""

    @property
    def note(self) -> str:
        """What is added to the cause of what is let go."""
        return f"discarded by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an act on one of several; `refused` is None where it was done."""

    id: str
    refused: ChowkError | None = None


async def act_on(database: Database, whose: Whose, letter: LetterId, act: Act) -> None:
    """Do it, once: who acts and on what stands in the log.

    Raises:
        NotFound: there is no such thing of this tenant.
        Conflict: it is in no state that allows this; the message says in which, or what stands against it.
        RequestInvalid: this act is not for this kind.
    """
    if act.verb == "mark_sent" and letter.kind != "effect":
        raise RequestInvalid(f"{letter} cannot be marked as sent; only an effect can")
    if letter.kind in UNROUTED_KINDS:
        await _act_on_inbox(database, whose, letter, act)
    elif isinstance(whose, Unrouted):
        raise unknown_letter(letter)
    else:
        async with tenant_tx(database, whose, commit="dead_letters.act") as connection:
            await _act_in_tenant(connection, letter, act)
    tenant_id = None if isinstance(whose, Unrouted) else whose
    log.info("dead_letter_acted_on", act=act.verb, letter=str(letter), by=act.by, tenant_id=tenant_id)


async def act_on_each(database: Database, whose: Whose, letters: Sequence[LetterId], act: Act) -> list[Answer]:
    """Do it to each on its own; gives for each, in this order, whether it was done. Each counts once.

    Raises:
        DatabaseUnavailable: the database went away; asking again does what is left to do.
    """
    answers: list[Answer] = []
    for letter in dict.fromkeys(letters):
        try:
            await act_on(database, whose, letter, act)
            answers.append(Answer(str(letter)))
        except ChowkError as error:
            if error.retryable:
                raise
            answers.append(Answer(str(letter), error))
    return answers


async def _act_on_inbox(database: Database, whose: Whose, letter: LetterId, act: Act) -> None:
    """First the tenant's own eyes must see it dead, then the queue role changes it."""
    kind, key = cast("inbox.InboxKind", letter.kind), int(letter.key)
    async with looking(database, whose) as connection:
        await inbox.look(connection, kind, key, to_retry=act.verb == "retry")
    tenant_id = None if isinstance(whose, Unrouted) else whose
    if act.verb == "discard":
        discard = inbox.discard_body if kind == "body" else inbox.discard_event
        await discard(database, tenant_id, key, note=act.note)
    elif kind == "body":
        await inbox.retry_body(database, tenant_id, key)
    elif isinstance(whose, Unrouted):
        await route_event(database, whose.sealer, key)
    else:
        await inbox.retry_event(database, whose, key)


async def _act_in_tenant(connection: Connection, letter: LetterId, act: Act) -> None:
    match letter.kind, act.verb:
        case "job", "retry":
            await inbox.retry_job(connection, letter.key)
        case "job", "discard":
            await inbox.discard_job(connection, letter.key, note=act.note)
        case "effect", "retry":
            await parked.retry_effect(connection, EffectId(letter.key))
        case "effect", "mark_sent":
            await parked.mark_sent(connection, EffectId(letter.key))
        case "effect", "discard":
            await parked.discard_effect(connection, EffectId(letter.key), note=act.note)
        case "run", "retry" | "discard":
            await _act_on_run(connection, RunId(letter.key), act)
        case _:
            raise unknown_letter(letter)


async def _act_on_run(connection: Connection, run_id: RunId, act: Act) -> None:
    from graphs.commands import discard_run, retry_run  # LangGraph comes with it

    if act.verb == "retry":
        await retry_run(connection, run_id, by=act.by)
    else:
        await discard_run(connection, run_id, by=act.by, reason=act.reason)
