"""Conversations: which of them are under legal hold."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli.actor import log_to_stderr
from cli.environment import connected, tenant_of
from cli.output import AsJson, print_json, print_rows
from core.ids import ConversationId, TenantId

if TYPE_CHECKING:
    from checkpoints.legal_holds import LegalHold
    from db.pools import Connection

app = typer.Typer(no_args_is_help=True, help="Conversations.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Such as conv_01jd3m….")]
OfTenant = Annotated[str, typer.Option("--tenant", help="Slug of the tenant.")]
Given = TypeVar("Given")


@app.command()
def hold(
    conversation_id: Id,
    tenant: OfTenant,
    reason: Annotated[str, typer.Option(help="Why, for example the number of the case.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Put a conversation under legal hold: its checkpoints are kept, however many and however old."""
    from checkpoints.legal_holds import hold_conversation

    held = _run(tenant, lambda connection: hold_conversation(connection, ConversationId(conversation_id), reason))
    if as_json:
        print_json(_row(held))
    else:
        typer.echo(f"{held.conversation_id} is held: {held.reason}")


@app.command()
def release(conversation_id: Id, tenant: OfTenant) -> None:
    """Let the retention take its course again."""
    from checkpoints.legal_holds import release_conversation

    _run(tenant, lambda connection: release_conversation(connection, ConversationId(conversation_id)))
    typer.echo(f"{conversation_id} is not held")


@app.command()
def holds(tenant: OfTenant, *, as_json: AsJson = False) -> None:
    """List the conversations that are under legal hold, and why."""
    from checkpoints.legal_holds import list_legal_holds

    print_rows([_row(held) for held in _run(tenant, list_legal_holds)], ("id", "reason"), as_json=as_json)


def _run(slug: str, act: "Callable[[Connection], Awaitable[Given]]") -> Given:
    log_to_stderr()
    return asyncio.run(_as_tenant(tenant_of(slug), act))


async def _as_tenant(tenant_id: TenantId, act: "Callable[[Connection], Awaitable[Given]]") -> Given:
    from db.transactions import tenant_tx

    async with connected() as database, tenant_tx(database, tenant_id, commit="cli.legal_hold") as connection:
        return await act(connection)


def _row(held: "LegalHold") -> dict[str, str]:
    return {"id": held.conversation_id, "reason": held.reason}
