"""Accounts and apps: who may send to us, and in whose name we send. Their secrets are opened here and nowhere else.

An account belongs to one tenant; an app of a provider (one Meta app, many numbers) belongs to none and serves accounts
of several. Secrets are sealed for their own row, so a ciphertext that is moved to another row does not open.
"""

import base64
from dataclasses import dataclass

from psycopg.rows import DictRow
from pydantic import BaseModel, ConfigDict, ValidationError

from channels.protocol import Secrets, SendingAccount
from core.crypto import Sealed, Sealer
from core.errors import Broken, NotFound
from core.ids import AccountId, TenantId
from db.pools import Connection


@dataclass(frozen=True, slots=True)
class WebhookSource:
    """Whose webhooks these are: an account, or an app (`tenant_id` is None, `channel` is the provider's name)."""

    id: str
    tenant_id: TenantId | None
    channel: str
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Account:
    """An account as its tenant sees it. A stopped one sends nothing; `stop_reason` says why."""

    id: AccountId
    channel: str
    stopped: bool
    stop_reason: str | None
    #: How long a conversation must be quiet before it is answered; None takes the process's setting.
    debounce_ms: int | None
    sending: SendingAccount


async def webhook_source(connection: Connection, sealer: Sealer, name: str) -> WebhookSource | None:
    """The account with this id, or the app of the provider with this name. Needs `edge_tx`.

    Raises:
        Broken: its secrets do not open with this CHOWK_SECRET_KEY.
    """
    cursor = await connection.execute(
        "SELECT source_id, tenant_id, channel, secrets_sealed, secrets_wrapped_key FROM core.webhook_source(%s)",
        (name,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    secrets = open_secrets(sealer, row, owner_id=row["source_id"])
    return WebhookSource(row["source_id"], row["tenant_id"], row["channel"], secrets)


async def account(connection: Connection, sealer: Sealer, account_id: AccountId) -> Account:
    """One account of this tenant with its secrets. Needs `tenant_tx`.

    Raises:
        NotFound: this tenant has no such account.
        Broken: its secrets do not open with this CHOWK_SECRET_KEY.
    """
    cursor = await connection.execute(
        """
        SELECT id, channel, external_id, state, stop_reason, debounce_ms, secrets_sealed, secrets_wrapped_key
        FROM core.accounts WHERE id = %s
        """,
        (account_id,),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"this tenant has no account {account_id!r}")
    return Account(
        id=row["id"],
        channel=row["channel"],
        stopped=row["state"] == "stopped",
        stop_reason=row["stop_reason"],
        debounce_ms=row["debounce_ms"],
        sending=SendingAccount(row["external_id"], open_secrets(sealer, row, owner_id=row["id"])),
    )


async def stop_account(connection: Connection, account_id: AccountId, *, reason: str) -> None:
    """Send nothing more from this account until a person starts it again. Needs `tenant_tx`."""
    await connection.execute(
        "UPDATE core.accounts SET state = 'stopped', stop_reason = %s WHERE id = %s AND state = 'active'",
        (reason, account_id),
    )


class _StoredSecrets(BaseModel):
    """How `Secrets` are written before they are sealed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: base64 of each live signing secret, the newest first.
    signing: tuple[str, ...]
    verify_token: str
    access_token: str


def seal_secrets(sealer: Sealer, secrets: Secrets, *, owner_id: str) -> Sealed:
    """Seal secrets for the row of the account or app with this id."""
    stored = _StoredSecrets(
        signing=tuple(base64.b64encode(secret).decode() for secret in secrets.signing),
        verify_token=secrets.verify_token,
        access_token=secrets.access_token,
    )
    return sealer.seal(stored.model_dump_json().encode(), context=_context(owner_id))


def open_secrets(sealer: Sealer, row: DictRow, *, owner_id: str) -> Secrets:
    """Open the columns `secrets_sealed` and `secrets_wrapped_key` of the account's or app's row.

    Raises:
        Broken: they do not open with this CHOWK_SECRET_KEY, or do not hold secrets.
    """
    sealed = Sealed(row["secrets_sealed"], row["secrets_wrapped_key"])
    try:
        stored = _StoredSecrets.model_validate_json(sealer.open(sealed, context=_context(owner_id)))
    except ValidationError:
        raise Broken(f"the sealed secrets of {owner_id} do not hold secrets; add the account again") from None
    return Secrets(
        signing=tuple(base64.b64decode(secret) for secret in stored.signing),
        verify_token=stored.verify_token,
        access_token=stored.access_token,
    )


def _context(owner_id: str) -> str:
    return f"secrets:{owner_id}"
