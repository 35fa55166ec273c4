"""Runs for an operator of the installation: found over tenants by their ids, and asked for things."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from cli.environment import connected
from core.errors import Conflict, NotFound
from core.ids import TenantId

if TYPE_CHECKING:
    from checkpoints.operations import RunFilter
    from db.pools import Connection, Database

Given = TypeVar("Given")
#: Any: a row to print.
Shown = dict[str, Any]

POLL_S = 0.3
#: How long `--wait` waits for a run to end.
WAIT_S = 120.0


async def list_records(tenant: str, wanted: "RunFilter", *, limit: int) -> list[Shown]:
    """Up to `limit` runs, the newest first: of one tenant by its slug, or of all.

    Raises:
        NotFound: there is no such tenant.
    """
    from checkpoints.operations import list_runs, list_runs_of_all
    from db.tenants import list_tenants
    from db.transactions import tenant_tx

    async with connected() as database:
        slugs = {one.id: one.slug for one in await list_tenants(database)}
        if not tenant:
            found = await list_runs_of_all(database, wanted, limit=limit)
            return [row | {"tenant": slugs[row["tenant_id"]]} for row in found]
        tenant_id = next((one for one, slug in slugs.items() if slug == tenant), None)
        if tenant_id is None:
            raise NotFound(f"there is no tenant {tenant!r}; see `chowk tenant list`")
        async with tenant_tx(database, tenant_id, commit="cli.runs") as connection:
            found = await list_runs(connection, wanted, limit=limit)
        return [row | {"tenant": tenant} for row in found]


async def show_record(run_id: str) -> Shown:
    """A run with its steps, its open questions and what was asked of it.

    Raises:
        NotFound: there is no such run.
    """
    from checkpoints.operations import commands_of, find_run, open_questions, steps_of, tenant_of_run
    from db.tenants import list_tenants
    from db.transactions import tenant_tx
    from graphs.inspection import answer_schema

    async with connected() as database:
        tenant_id = await tenant_of_run(database, run_id)
        slug = next(one.slug for one in await list_tenants(database) if one.id == tenant_id)
        async with tenant_tx(database, tenant_id, commit="cli.run_show") as connection:
            run = await find_run(connection, run_id)
            steps, commands = await steps_of(connection, run_id), await commands_of(connection, run_id)
    questions = [
        {**one, "answer_schema": answer_schema(run["graph"], one["slot"])} for one in open_questions(run, commands)
    ]
    return run | {"tenant": slug, "interrupts": questions, "commands": commands, "steps": steps}


async def ask(run_id: str, act: "Callable[[Connection], Awaitable[Given]]") -> Given:
    """Ask something of a run, in one transaction of its tenant.

    Raises:
        NotFound: there is no such run.
    """
    from checkpoints.operations import tenant_of_run
    from db.transactions import tenant_tx

    async with connected() as database:
        tenant_id = await tenant_of_run(database, run_id)
        async with tenant_tx(database, tenant_id, commit="cli.run_command") as connection:
            return await act(connection)


async def compare_records(run_id: str) -> Shown:
    """A fork or a replay beside the run that it repeats.

    Raises:
        NotFound: there is no such run.
        Conflict: it repeats no other.
    """
    from checkpoints.operations import tenant_of_run
    from db.transactions import tenant_tx
    from graphs.inspection import compare_run

    async with connected() as database:
        tenant_id = await tenant_of_run(database, run_id)
        async with tenant_tx(database, tenant_id, commit="cli.run_compare") as connection:
            compared = await compare_run(connection, run_id)
    return {"recorded": _side(compared.recorded), "repeated": _side(compared.repeated)} | asdict(compared.found)


async def until_ended(run_id: str) -> None:
    """Return once the run has ended.

    Raises:
        Conflict: it has not after `WAIT_S`.
    """
    from checkpoints.operations import tenant_of_run

    async with connected() as database:
        tenant_id = await tenant_of_run(database, run_id)
        try:
            async with asyncio.timeout(WAIT_S):
                while not await _has_ended(database, tenant_id, run_id):  # noqa: ASYNC110  # another process ends it
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Conflict(
                f"run {run_id} has not ended after {WAIT_S:.0f} s; is a worker running?"
                f" When it has ended: chowk runs compare {run_id}"
            ) from None


async def _has_ended(database: "Database", tenant_id: TenantId, run_id: str) -> bool:
    from checkpoints.operations import ENDED, find_run
    from db.transactions import tenant_tx

    async with tenant_tx(database, tenant_id, commit="cli.run_wait") as connection:
        return (await find_run(connection, run_id))["state"] in ENDED


def _side(run: Shown) -> Shown:
    return {name: run[name] for name in ("id", "kind", "state", "outcome")}
