"""`chowk migrate`: brings the database to this version, shows how far it is, and says who is left behind."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TextIO
from urllib.parse import unquote, urlsplit

import typer

from cli.environment import admin_url
from cli.output import AsJson, print_json
from core.settings import DatabaseSettings, load

if TYPE_CHECKING:
    from db.migrate import Outcome, Progress

PARALLEL_DEFAULT = 4
FAILURES_SHOWN_MAX = 20
#: How often a new line is written where nobody watches a terminal, and how often the one line of a terminal changes.
LINE_EVERY_S = 1.0
REDRAW_EVERY_S = 0.1


def migrate(
    *,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="How many tenants at once.")] = PARALLEL_DEFAULT,
    post: Annotated[bool, typer.Option("--post", help="After the deploy: remove what old code needed, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the roles, the shared schema and every tenant's schema to this version.

    Safe to run again, which goes on where it stopped, and beside itself.
    """
    from db.migrate import MigrationIncomplete
    from db.migrate import migrate as bring_up

    show = progress_shown_on(sys.stderr)
    try:
        outcome = bring_up(
            admin_url(), app_password=_password_of_login(), post=post, parallel=parallel, on_progress=show
        )
    except MigrationIncomplete as error:
        if error.outcome is None:
            raise
        outcome = error.outcome
    if as_json:
        print_json(_plain(outcome))
    else:
        _print(outcome)
    raise typer.Exit(1 if outcome.failures else 0)


def progress_shown_on(stream: TextIO) -> "Callable[[Progress], None]":
    """Writes how far a migration is: on a terminal one line that changes, elsewhere a line each second."""
    terminal = stream.isatty()
    every_s = REDRAW_EVERY_S if terminal else LINE_EVERY_S
    written_at = time.monotonic()

    def show(progress: "Progress") -> None:
        nonlocal written_at
        ended = progress.migrated + progress.failed >= progress.total
        if time.monotonic() - written_at < every_s and not ended:
            return
        written_at = time.monotonic()
        line = progress_line(progress)
        stream.write(f"\r\x1b[K{line}" + ("\n" if ended else "") if terminal else f"{line}\n")
        stream.flush()

    return show


def progress_line(progress: "Progress") -> str:
    """How far a migration is, in words."""
    done = f"migrated {progress.migrated} of {progress.total} tenants, {progress.rate_per_s:.0f}/s"
    return f"{done}, {progress.failed} failed" if progress.failed else done


def _print(outcome: "Outcome") -> None:
    from db.versions import newest_versions

    typer.echo(
        f"migrated: {', '.join(outcome.versions.values())}; {outcome.tenants} tenant(s): {outcome.migrated} migrated,"
        f" {outcome.current} already there, {len(outcome.failures)} failed, in {outcome.seconds:.1f} s"
    )
    if outcome.versions != newest_versions():
        typer.echo("once the new code runs everywhere: chowk migrate --post")
    for failure in outcome.failures[:FAILURES_SHOWN_MAX]:
        typer.echo(f"chowk: {failure.slug} ({failure.tenant_id}) failed: {failure.reason}", err=True)
    if len(outcome.failures) > FAILURES_SHOWN_MAX:
        typer.echo(f"chowk: and {len(outcome.failures) - FAILURES_SHOWN_MAX} more; --json names all", err=True)
    if outcome.failures:
        typer.echo("chowk: mend these and run `chowk migrate` again; it goes on with them alone", err=True)


def _plain(outcome: "Outcome") -> dict[str, object]:
    return {
        **outcome.versions,
        "tenants": outcome.tenants,
        "migrated": outcome.migrated,
        "current": outcome.current,
        "failed": [
            {"tenant": failure.tenant_id, "slug": failure.slug, "reason": failure.reason}
            for failure in outcome.failures
        ],
        "seconds": round(outcome.seconds, 3),
    }


def _password_of_login() -> str | None:
    """The password in DATABASE_URL, which the login that migrating makes will have."""
    password = urlsplit(load(DatabaseSettings).url.get_secret_value()).password
    return None if password is None else unquote(password)
