"""API keys of tenants."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from cli.environment import connected, tenant_of
from cli.output import AsJson, print_json
from core.clock import utc_now
from core.errors import RequestInvalid
from core.ids import TenantId

app = typer.Typer(no_args_is_help=True, help="Keys of the read API.")


@app.callback()
def group() -> None:
    """Keys of the read API."""


@app.command()
def create(
    tenant: Annotated[str, typer.Option(help="Slug of the tenant.")],
    name: Annotated[str, typer.Option(help="What it is for.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do: read, write. Repeat it for several; none means read.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Valid for this many days; none means for ever.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once and is nowhere else."""
    from rest.api_keys import SCOPES

    scopes = scope or ["read"]
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown:
        raise RequestInvalid(f"--scope {', '.join(unknown)}: known are {', '.join(SCOPES)}")
    key = asyncio.run(_create(tenant_of(tenant), name, scopes, days))
    if as_json:
        print_json({"api_key": key, "tenant": tenant, "name": name, "scopes": scopes})
    else:
        typer.echo(key)


async def _create(tenant_id: TenantId, name: str, scopes: list[str], days: int | None) -> str:
    from db.transactions import tenant_tx
    from rest.api_keys import create_api_key

    expires_at = None if days is None else utc_now() + timedelta(days=days)
    async with connected() as database, tenant_tx(database, tenant_id, commit="cli.api_key") as connection:
        return await create_api_key(connection, tenant_id=tenant_id, name=name, scopes=scopes, expires_at=expires_at)
