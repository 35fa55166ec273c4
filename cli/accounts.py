"""Accounts: the numbers, pages and mailboxes of tenants."""

from dataclasses import asdict
from typing import Annotated

import typer

from cli.environment import admin_url, sealer, tenant_of
from cli.output import AsJson, print_json, print_rows
from cli.secret_options import AccessToken, SigningSecrets, VerifyToken, gather_secrets
from core.errors import RequestInvalid

app = typer.Typer(no_args_is_help=True, help="Numbers, pages and mailboxes of tenants.")

BaseUrl = Annotated[str, typer.Option(help="Where providers reach this installation.")]


@app.command()
def add(
    tenant: Annotated[str, typer.Option(help="Slug of the tenant.")],
    channel: Annotated[str, typer.Option(help="For example whatsapp.")],
    external_id: Annotated[str, typer.Option(help="The provider's id of it (WhatsApp: the phone_number_id).")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    signing_secret: SigningSecrets = None,
    verify_token: VerifyToken = "",
    access_token: AccessToken = "",
    *,
    app_of: Annotated[str, typer.Option("--app", help="The provider whose shared app serves it: meta.")] = "",
    base_url: BaseUrl = "https://YOUR-HOST",
    as_json: AsJson = False,
) -> None:
    """Add an account; prints the webhook URL and the verify token to enter in the provider's console."""
    from channels.registration import add_account
    from channels.registry import channel as channel_of

    channel_of(channel)
    if not signing_secret and not app_of:
        raise RequestInvalid(
            "--signing-secret is missing: without it no webhook of this account can be checked; leave it out only with"
            " --app, where the app's own secret signs"
        )
    opened = gather_secrets(signing=signing_secret or [], verify_token=verify_token, access_token=access_token)
    account_id = add_account(
        admin_url(),
        sealer(),
        tenant_id=tenant_of(tenant),
        channel=channel,
        external_id=external_id,
        name=name or external_id,
        secrets=opened,
        app=app_of or None,
    )
    path = f"/webhooks/{app_of}" if app_of else f"/webhooks/{channel}/{account_id}"
    shown = {"account": account_id, "webhook_url": base_url.rstrip("/") + path}
    if not app_of:
        shown["verify_token"] = opened.verify_token
    if as_json:
        print_json(shown)
    else:
        typer.echo("\n".join(f"{label.replace('_', ' '):<12} {value}" for label, value in shown.items()))


@app.command("list")
def list_(
    tenant: Annotated[str, typer.Option(help="Only those of this tenant (slug).")] = "", *, as_json: AsJson = False
) -> None:
    """List accounts; never their secrets."""
    from channels.registration import list_accounts

    rows = [asdict(entry) for entry in list_accounts(admin_url(), tenant_slug=tenant or None)]
    columns = ("tenant_slug", "channel", "external_id", "name", "state", "app", "id")
    print_rows(rows, columns, as_json=as_json)
