"""Dead letters for an operator of the installation: found over tenants, acted upon wherever they belong."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cli.environment import connected, sealer
from core.errors import NotFound, RequestInvalid

if TYPE_CHECKING:
    from db.pools import Database
    from graphs.dead_letter_acts import Act, Answer
    from graphs.dead_letters import DeadLetter, Whose

#: The same as `graphs.dead_letters.LetterKind`, which is slow to import.
Kind: TypeAlias = Literal["body", "event", "job", "effect", "run"]

PAGE_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose dead letters are meant: a tenant's (its slug), those of none, or all."""

    tenant: str
    all_tenants: bool
    unrouted: bool

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            RequestInvalid: more than one of them is given.
        """
        if bool(self.tenant) + self.all_tenants + self.unrouted > 1:
            raise RequestInvalid("--tenant, --all and --unrouted exclude each other; give one of them")

    @property
    def is_given(self) -> bool:
        """Whether anything was said."""
        return bool(self.tenant) or self.all_tenants or self.unrouted


async def list_letters(scope: Scope, kind: Kind | None, *, limit: int) -> list[dict[str, Any]]:
    """Up to `limit` dead letters as rows to print, the latest first. Any: shown."""
    from db.tenants import list_tenants
    from graphs.dead_letters import list_dead_letters

    async with connected() as database:
        slugs = {tenant.id: tenant.slug for tenant in await list_tenants(database)}
        found: list[DeadLetter] = []
        for whose in await _whose(database, scope):
            found.extend(await list_dead_letters(database, whose, kind=kind, limit=limit))
    found.sort(key=lambda letter: (letter.at, letter.id), reverse=True)
    return [asdict(one) | {"at": one.at, "tenant": one.tenant_id and slugs[one.tenant_id]} for one in found[:limit]]


async def show_letter(text: str) -> dict[str, Any]:
    """All that is known of one. Any: shown.

    Raises:
        RequestInvalid: it is no id.
        NotFound: there is no such dead letter.
    """
    from graphs.dead_letters import get_dead_letter, parse_letter_id

    letter_id = parse_letter_id(text)
    async with connected() as database:
        letter, detail = await get_dead_letter(database, await _owner(database, text), letter_id)
    return asdict(letter) | {"detail": detail}


async def act_on_ids(ids: Sequence[str], act: "Act", *, say: "Callable[[Answer], None]") -> None:
    """Do it to each; `say` hears what became of it.

    Raises:
        RequestInvalid: one of them is no id; nothing was done.
    """
    from graphs.dead_letter_acts import Answer, act_on_each
    from graphs.dead_letters import parse_letter_id

    letters = [parse_letter_id(text) for text in ids]
    async with connected() as database:
        for letter in dict.fromkeys(letters):
            try:
                whose = await _owner(database, str(letter))
            except NotFound as error:
                say(Answer(str(letter), error))
                continue
            for answer in await act_on_each(database, whose, [letter], act):
                say(answer)


async def act_on_kind(
    scope: Scope, kind: Kind, act: "Act", *, limit: int | None, say: "Callable[[Answer], None]"
) -> None:
    """Do it to the latest `limit` of a kind, or to every one; `say` hears what became of each."""
    from graphs.dead_letter_acts import act_on_each
    from graphs.dead_letters import list_dead_letters, parse_letter_id

    left = limit
    async with connected() as database:
        for whose in await _whose(database, scope):
            before = None
            while left is None or left > 0:
                wanted = PAGE_LETTERS if left is None else min(left, PAGE_LETTERS)
                found = await list_dead_letters(database, whose, kind=kind, before=before, limit=wanted)
                if not found:
                    break
                before = (found[-1].at, found[-1].id)
                left = None if left is None else left - len(found)
                for answer in await act_on_each(database, whose, [parse_letter_id(one.id) for one in found], act):
                    say(answer)


async def _whose(database: "Database", scope: Scope) -> "list[Whose]":
    from db.tenants import list_tenants
    from graphs.dead_letters import Unrouted, tenants_with_dead_letters

    if scope.unrouted:
        return [Unrouted(sealer())]
    if not scope.tenant:
        return [*await tenants_with_dead_letters(database), Unrouted(sealer())]
    found = [tenant.id for tenant in await list_tenants(database) if tenant.slug == scope.tenant]
    if not found:
        raise NotFound(f"there is no tenant {scope.tenant!r}; see `chowk tenant list`")
    return [*found]


async def _owner(database: "Database", text: str) -> "Whose":
    from graphs.dead_letters import Unrouted, parse_letter_id, tenant_of_letter

    return await tenant_of_letter(database, parse_letter_id(text)) or Unrouted(sealer())
