"""`chowk doctor`: looks at everything that Chowk stands on and says what to do about what is wrong."""

import asyncio
from dataclasses import asdict

import typer

from cli.output import AsJson, print_json

MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(*, as_json: AsJson = False) -> None:
    """Check Python, settings, Postgres, schemas, Redis, workers, queues and disk; says what to mend."""
    from cli.checks import examine

    findings = asyncio.run(examine())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            typer.echo(f"{MARKS[finding.state]}  {finding.name:<{width}}  {finding.detail}")
            if finding.remedy:
                typer.echo(f"{'':4}  {'':<{width}}  -> {finding.remedy}")
    raise typer.Exit(1 if any(finding.state == "fail" for finding in findings) else 0)
