"""Dead letters: what ended badly, over all tenants or of one, and what to do about it."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.actor import actor, log_to_stderr
from cli.letters import Kind, Scope, act_on_ids, act_on_kind, list_letters, show_letter
from cli.output import AsJson, print_json, print_rows
from core.errors import RequestInvalid

if TYPE_CHECKING:
    from graphs.dead_letter_acts import Act, Answer

app = typer.Typer(no_args_is_help=True, help="Dead letters: what ended badly and waits for an operator.")

LIST_LIMIT = 100
BULK_LIMIT = 1_000
CAUSE_CHARACTERS_MAX = 80
DONE = {"retry": "retried", "discard": "discarded", "mark_sent": "marked as sent"}
COLUMNS = ("id", "what", "tenant", "at", "attempts", "cause")

OfTenant = Annotated[str, typer.Option("--tenant", help="Only those of this tenant (slug).")]
OfAll = Annotated[bool, typer.Option("--all", help="Those of every tenant, and those of none.")]
OfNone = Annotated[bool, typer.Option("--unrouted", help="Only what belongs to no tenant.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="Only this kind.")]
Ids = Annotated[list[str] | None, typer.Argument(help="Such as event:123 or effect:eff_01jd3m….")]
BulkLimit = Annotated[int, typer.Option(min=1, help="With --kind: the latest so many.")]
AllOfKind = Annotated[bool, typer.Option("--all-of-kind", help="With --kind: every one, however many.")]


@app.command("list")
def list_(
    *,
    tenant: OfTenant = "",
    all_tenants: OfAll = False,
    unrouted: OfNone = False,
    kind: OfKind = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = LIST_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the latest first; of every tenant unless you say otherwise."""
    rows = asyncio.run(list_letters(Scope(tenant, all_tenants, unrouted), kind, limit=limit))
    if as_json:
        print_json(rows)
    else:
        print_rows([row | {"cause": _in_one_line(row["cause"])} for row in rows], COLUMNS, as_json=False)


@app.command()
def show(letter: Annotated[str, typer.Argument(help="Its id, such as event:123.")]) -> None:
    """Show all that is known of one, as JSON; never what a stranger sent."""
    print_json(asyncio.run(show_letter(letter)))


@app.command()
def retry(
    ids: Ids = None,
    *,
    tenant: OfTenant = "",
    all_tenants: OfAll = False,
    unrouted: OfNone = False,
    kind: OfKind = None,
    limit: BulkLimit = BULK_LIMIT,
    all_of_kind: AllOfKind = False,
    as_json: AsJson = False,
) -> None:
    """Try again: those named, or those of a --kind, with one of --tenant, --unrouted or --all.

    A message is sent once more under the same key. An unrouted event goes to whoever has its account by now.
    """
    from graphs.dead_letter_acts import Act

    scope = Scope(tenant, all_tenants, unrouted)
    _act(Act("retry", by=actor()), ids, scope, kind, limit=None if all_of_kind else limit, as_json=as_json)


@app.command()
def discard(
    ids: Ids = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept beside the cause.")] = "",
    tenant: OfTenant = "",
    all_tenants: OfAll = False,
    unrouted: OfNone = False,
    kind: OfKind = None,
    limit: BulkLimit = BULK_LIMIT,
    all_of_kind: AllOfKind = False,
    as_json: AsJson = False,
) -> None:
    """Let go: those named, or those of a --kind, with one of --tenant, --unrouted or --all.

    Their rows and causes stay; what they held sealed is erased, and a message shows as failed.
    """
    from graphs.dead_letter_acts import REASON_CHARACTERS_MAX, Act

    if len(reason) > REASON_CHARACTERS_MAX:
        raise RequestInvalid(f"--reason has {len(reason)} characters; at most {REASON_CHARACTERS_MAX} are kept")
    scope, act = Scope(tenant, all_tenants, unrouted), Act("discard", by=actor(), reason=reason)
    _act(act, ids, scope, kind, limit=None if all_of_kind else limit, as_json=as_json)


@app.command()
def sent(
    ids: Annotated[list[str], typer.Argument(help="Such as effect:eff_01jd3m….")], *, as_json: AsJson = False
) -> None:
    """Say of messages whose outcome is unclear that they were sent, once you have looked."""
    from graphs.dead_letter_acts import Act

    nobody = Scope("", all_tenants=False, unrouted=False)
    _act(Act("mark_sent", by=actor()), ids, nobody, None, limit=None, as_json=as_json)


def _act(
    act: "Act", ids: list[str] | None, scope: Scope, kind: Kind | None, *, limit: int | None, as_json: bool
) -> None:
    """Act, print what became of each, and end with status 1 if any was refused."""
    log_to_stderr()
    answers: list[Answer] = []

    def say(answer: "Answer") -> None:
        answers.append(answer)
        if answer.refused:
            typer.echo(f"chowk: {answer.refused.message}", err=True)
        elif not as_json:
            typer.echo(f"{answer.id} {DONE[act.verb]}")

    if ids and kind is None:
        if scope.is_given:
            raise RequestInvalid("--tenant, --all and --unrouted go with --kind; an id says by itself whose it is")
        asyncio.run(act_on_ids(ids, act, say=say))
    elif kind is not None and not ids:
        if not scope.is_given:
            raise RequestInvalid(f"--kind {kind} needs to know whose: add --tenant SLUG, --unrouted or --all")
        asyncio.run(act_on_kind(scope, kind, act, limit=limit, say=say))
    else:
        raise RequestInvalid("name the dead letters, or give a --kind of them; see `chowk dead list`")
    if as_json:
        print_json(
            [
                {
                    "id": answer.id,
                    "outcome": "refused" if answer.refused else "done",
                    "reason": answer.refused and answer.refused.message,
                }
                for answer in answers
            ]
        )
    if any(answer.refused for answer in answers):
        raise typer.Exit(1)


def _in_one_line(cause: str | None) -> str | None:
    line = None if cause is None else " ".join(cause.split())
    return line if line is None or len(line) <= CAUSE_CHARACTERS_MAX else f"{line[: CAUSE_CHARACTERS_MAX - 1]}…"
