"""Evaluations of what the agents answer."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.environment import connected
from cli.output import AsJson
from core.errors import NotFound
from core.settings import ModelSettings, load

if TYPE_CHECKING:
    from evals.report import Report, Result

app = typer.Typer(no_args_is_help=True, help="Evaluations of what the agents answer.")


@app.callback()
def group() -> None:
    """Evaluations of what the agents answer."""


@app.command()
def run(
    tenant: Annotated[str, typer.Option(help="Only cases of this tenant (slug).")] = "",
    tag: Annotated[str, typer.Option(help="Only cases with this tag.")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Run the cases over the tenants' real knowledge, sending nothing. Fails when a stable case fails."""
    report = asyncio.run(_run(tenant or None, tag or None))
    typer.echo(report.as_json() if as_json else report.table())
    raise typer.Exit(0 if report.passed else 1)


async def _run(slug: str | None, tag: str | None) -> "Report":
    from db.tenants import list_tenants
    from evals.case import read_cases
    from evals.report import Report
    from evals.run import run_cases
    from models.chat import build_chat_model, engine_of
    from models.embedder import local_embedder
    from prompts.loader import prompt_refs

    cases = read_cases(tenant=slug, tag=tag)
    chat_model, embedder = build_chat_model(load(ModelSettings)), local_embedder()
    results: list[Result] = []
    async with connected() as database:
        tenants = {tenant.slug: tenant for tenant in await list_tenants(database)}
        for asked in sorted({case.tenant for case in cases}):
            tenant = tenants.get(asked)
            if tenant is None:
                raise NotFound(f"the cases speak of the tenant {asked!r}, which `chowk dev` makes; here there is none")
            of_tenant = [case for case in cases if case.tenant == asked]
            profile = {"name": tenant.name} | tenant.settings.get("profile", {})
            report = await run_cases(
                database, tenant.id, of_tenant, chat_model=chat_model, embedder=embedder, profile=profile
            )
            results.extend(report.results)
    return Report(engine_of(chat_model), prompt_refs(), results)
