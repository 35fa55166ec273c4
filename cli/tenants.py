"""Tenants: the organisations that this installation serves."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import admin_url, connected
from cli.output import AsJson, print_json, print_rows

if TYPE_CHECKING:
    from db.tenants import Tenant

app = typer.Typer(no_args_is_help=True, help="Organisations.")


@app.command()
def create(
    slug: Annotated[str, typer.Option(help="Short name: lower-case letters, digits, hyphens.")],
    name: Annotated[str, typer.Option(help="The organisation's name.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Make a tenant with its own role and schema."""
    from db.provision import create_tenant

    tenant_id = create_tenant(admin_url(), slug=slug, name=name)
    if as_json:
        print_json({"tenant": tenant_id, "slug": slug, "name": name})
    else:
        typer.echo(f"made tenant {slug} ({tenant_id}); next: chowk account add --tenant {slug} …")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List every tenant."""
    rows = [{"slug": tenant.slug, "name": tenant.name, "id": tenant.id} for tenant in asyncio.run(_all())]
    print_rows(rows, ("slug", "name", "id"), as_json=as_json)


async def _all() -> "list[Tenant]":
    from db.tenants import list_tenants

    async with connected() as database:
        return await list_tenants(database)
