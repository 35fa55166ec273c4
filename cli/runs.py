"""Runs: which there are, what each did, and what is asked of them. An id says by itself whose run it is."""

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.actor import actor
from cli.output import AsJson, print_json, print_rows
from cli.run_records import ask, compare_records, list_records, show_record, until_ended
from cli.timeline import shown_comparison, shown_questions, shown_run, shown_steps
from core.errors import RequestInvalid
from core.ids import RunId

if TYPE_CHECKING:
    from db.pools import Connection

app = typer.Typer(no_args_is_help=True, help="Runs: what agents did, and what is asked of them.")

LIST_LIMIT = 50
COLUMNS = ("id", "tenant", "kind", "state", "outcome", "attempts", "conversation_id", "created_at")

Id = Annotated[str, typer.Argument(metavar="ID", help="Such as run_01jd3m….")]


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class Prompts(StrEnum):
    """Whose words a replay speaks with."""

    RECORDED = "recorded"
    CURRENT = "current"


@app.command("list")
def list_(
    *,
    tenant: Annotated[str, typer.Option(help="Only those of this tenant (slug).")] = "",
    state: Annotated[list[State] | None, typer.Option(help="Only those in this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind: turn, hand_off, fork, replay ….")] = None,
    conversation: Annotated[str | None, typer.Option(help="Only those of this conversation.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = LIST_LIMIT,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first; of every tenant unless you say otherwise."""
    from checkpoints.operations import RunFilter

    states = [one.value for one in state] if state else None
    wanted = RunFilter(states=states, kind=kind, conversation_id=conversation)
    print_rows(asyncio.run(list_records(tenant, wanted, limit=limit)), COLUMNS, as_json=as_json)


@app.command()
def show(run_id: Id, *, as_json: AsJson = False) -> None:
    """Show a run as a timeline, what it waits for and what was asked of it."""
    run = asyncio.run(show_record(run_id))
    if as_json:
        print_json(run)
        return
    for line in (
        *shown_run(run),
        "",
        *shown_steps(run["steps"], forkable=run["checkpoints_kept"]),
        *shown_questions(run_id, run["interrupts"]),
    ):
        typer.echo(line)
    if run["commands"]:
        typer.echo("")
        print_rows(run["commands"], ("created_at", "kind", "requested_by", "state"), as_json=False)


@app.command()
def resume(
    run_id: Id,
    *,
    answer: Annotated[str | None, typer.Option(help="The answer to its question, as JSON.")] = None,
    interrupt: Annotated[str | None, typer.Option(help="Which question, where several are open.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a run go on: with an answer where it waits for one, from the step where it was interrupted or failed."""
    from graphs import commands

    given = None if answer is None else _json("--answer", answer)

    async def act(connection: "Connection") -> str:
        return await commands.resume(connection, RunId(run_id), answer=given, interrupt_id=interrupt, by=actor())

    _say_accepted("goes on", run_id, asyncio.run(ask(run_id, act)), as_json=as_json)


@app.command()
def cancel(run_id: Id, *, as_json: AsJson = False) -> None:
    """End a run: at once where it stands still, at its next step where it is at work. Nothing of it is sent then."""
    from graphs import commands

    async def act(connection: "Connection") -> str:
        return await commands.cancel(connection, RunId(run_id), by=actor())

    _say_accepted("ends", run_id, asyncio.run(ask(run_id, act)), as_json=as_json)


@app.command()
def fork(
    run_id: Id,
    *,
    checkpoint: Annotated[str | None, typer.Option(help="Begin behind this step's checkpoint; see `show`.")] = None,
    edits: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=JSON", help="Edit the state.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Act on nothing and let nothing leave.")] = False,
    as_json: AsJson = False,
) -> None:
    """Begin a run anew, from its start or a checkpoint, on a thread of its own. It acts unless it is a dry run."""
    from graphs import fork_commands

    values = dict(_edit(text) for text in edits or ())

    async def act(connection: "Connection") -> str:
        return await fork_commands.fork(
            connection, RunId(run_id), checkpoint_id=checkpoint, values=values, dry_run=dry_run, by=actor()
        )

    _say_started(asyncio.run(ask(run_id, act)), run_id, as_json=as_json)


@app.command()
def replay(
    run_id: Id,
    *,
    prompts: Annotated[Prompts, typer.Option(help="The words it began with, or those of today.")] = Prompts.RECORDED,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and print the comparison.")] = False,
    as_json: AsJson = False,
) -> None:
    """Repeat a run from its start, dry: calls are answered from its receipts, and nothing leaves."""
    from graphs import fork_commands

    async def act(connection: "Connection") -> str:
        return await fork_commands.replay(connection, RunId(run_id), prompts=prompts.value, by=actor())

    started = asyncio.run(ask(run_id, act))
    if not wait:
        _say_started(started, run_id, as_json=as_json)
        return
    asyncio.run(until_ended(started))
    compare(started, as_json=as_json)


@app.command()
def compare(run_id: Id, *, as_json: AsJson = False) -> None:
    """Show where a fork or a replay went another way than the run it repeats."""
    found = asyncio.run(compare_records(run_id))
    if as_json:
        print_json(found)
        return
    for line in shown_comparison(found):
        typer.echo(line)


def _say_accepted(what: str, run_id: str, command_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"run_id": run_id, "command_id": command_id})
    else:
        typer.echo(f"{run_id} {what} ({command_id}); see: chowk runs show {run_id}")


def _say_started(started: str, run_id: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"run_id": started, "repeats": run_id})
    else:
        typer.echo(f"{started} repeats {run_id}; when it has ended: chowk runs compare {started}")


def _edit(text: str) -> tuple[str, Any]:  # Any: JSON
    field, equals, value = text.partition("=")
    if not field or not equals:
        raise RequestInvalid(f"--set {text[:64]!r}: write FIELD=JSON, for example --set 'summary=\"A donor\"'")
    return field, _json(f"--set {field[:64]}", value)


def _json(option: str, text: str) -> Any:  # Any: JSON
    from pydantic import TypeAdapter, ValidationError

    from rest.json_values import StorableJson

    try:
        return TypeAdapter[Any](StorableJson).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RequestInvalid(f"{option}: {first['msg']}; words stand in quotes: '\"yes\"'") from None
