"""The `chowk` command: thin calls into the packages below. What is slow to import, only the command that needs it does.

An error of ours, or of a server that is not there, is one clear line and exit status 1; anything else is a defect and
shows where it happened.
"""

import sys
from typing import Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from cli import accounts, api_keys, apps, conversations, dead, doctor, evaluations, processes, runs, tenants
from core.errors import ChowkError

#: Libraries whose errors mean that a server does not answer or refuses us; by name, so that none is imported here.
SERVER_LIBRARIES = ("psycopg", "psycopg_pool", "sqlalchemy", "redis")


class OneLineErrors(TyperGroup):
    """Prints an expected error as one line."""

    @override
    def invoke(self, ctx: Any) -> Any:  # Any: a context of the click inside Typer, and what the command gives
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = expected_error(error)
            if line is None:
                raise
            sys.stderr.write(f"chowk: {line}\n")
            raise typer.Exit(1) from None


def expected_error(error: Exception) -> str | None:
    """The one line for an error that a person can do something about; None for a defect."""
    if isinstance(error, ChowkError):
        return error.message
    if type(error).__module__.partition(".")[0] in SERVER_LIBRARIES:
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        return f"a server refused or did not answer: {words}; see `chowk doctor`"
    return None


app = typer.Typer(
    name="chowk",
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Chowk: one place where every channel a customer uses meets the agents that answer.",
)
processes.register(app)
doctor.register(app)
app.add_typer(tenants.app, name="tenant")
app.add_typer(accounts.app, name="account")
app.add_typer(apps.app, name="app")
app.add_typer(api_keys.app, name="api-key")
app.add_typer(conversations.app, name="conversation")
app.add_typer(runs.app, name="runs")
app.add_typer(dead.app, name="dead")
app.add_typer(evaluations.app, name="evals")


if __name__ == "__main__":
    app(prog_name="chowk")
