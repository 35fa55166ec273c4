"""Apps: a provider's app that serves accounts of several tenants at one webhook URL."""

from typing import Annotated

import typer

from cli.accounts import BaseUrl
from cli.environment import admin_url, sealer
from cli.output import AsJson, print_json
from cli.secret_options import SigningSecrets, VerifyToken, gather_secrets
from core.errors import RequestInvalid

app = typer.Typer(no_args_is_help=True, help="Apps of providers that serve several tenants.")


@app.callback()
def group() -> None:
    """Apps of providers that serve several tenants."""


@app.command()
def add(
    provider: Annotated[str, typer.Option(help="The provider: meta.")] = "meta",
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    signing_secret: SigningSecrets = None,
    verify_token: VerifyToken = "",
    base_url: BaseUrl = "https://YOUR-HOST",
    *,
    as_json: AsJson = False,
) -> None:
    """Add an app; prints the webhook URL and the verify token to enter in the provider's console."""
    from channels.registration import add_app

    if not signing_secret:
        raise RequestInvalid("--signing-secret is missing: without it no webhook of this app can be checked")
    opened = gather_secrets(signing=signing_secret, verify_token=verify_token, access_token="")
    app_id = add_app(admin_url(), sealer(), provider=provider, name=name or provider, secrets=opened)
    url = f"{base_url.rstrip('/')}/webhooks/{provider}"
    shown = {"app": app_id, "webhook_url": url, "verify_token": opened.verify_token}
    if as_json:
        print_json(shown)
    else:
        typer.echo("\n".join(f"{label.replace('_', ' '):<12} {value}" for label, value in shown.items()))
