"""Registering accounts and apps: an administrator's act, like making a tenant."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from channels.accounts import seal_secrets
from channels.protocol import Secrets
from core.crypto import Sealer
from core.errors import Conflict, NotFound
from core.ids import AccountId, AppId, TenantId, new_id
from db.administrator import administrator


@dataclass(frozen=True, slots=True)
class AccountEntry:
    """An account as a listing shows it: no secrets."""

    id: AccountId
    tenant_id: TenantId
    tenant_slug: str
    channel: str
    external_id: str
    name: str
    state: str
    app: str | None
    created_at: datetime


def add_account(
    admin_url: str,
    sealer: Sealer,
    *,
    tenant_id: TenantId,
    channel: str,
    external_id: str,
    name: str,
    secrets: Secrets,
    app: str | None = None,
    debounce_ms: int | None = None,
) -> AccountId:
    """Register an account of a tenant; gives its id.

    Args:
        admin_url: an administrator's database URL.
        sealer: seals the secrets.
        tenant_id: whose account it is.
        channel: the channel's name, for example `whatsapp`.
        external_id: the provider's id of the account (WhatsApp: the phone_number_id).
        name: what people call it.
        secrets: what its webhooks are checked with and what it sends with.
        app: the provider whose app serves this account (`meta`), where one app serves several tenants.
        debounce_ms: how long a conversation must be quiet before it is answered; None takes the process's setting.

    Raises:
        Conflict: the account is registered already.
        NotFound: there is no such tenant or app.
    """
    account_id = AccountId(new_id("acc"))
    sealed = seal_secrets(sealer, secrets, owner_id=account_id)
    insert = text(
        """
        INSERT INTO core.accounts
          (id, tenant_id, channel, external_id, app_id, name, debounce_ms, secrets_sealed, secrets_wrapped_key)
        VALUES (:id, :tenant_id, :channel, :external_id, :app_id, :name, :debounce_ms, :sealed, :wrapped_key)
        """
    )
    with administrator(admin_url) as connection:
        app_id: str | None = None
        if app is not None:
            app_id = connection.execute(text("SELECT id FROM core.apps WHERE provider = :app"), {"app": app}).scalar()
            if app_id is None:
                raise NotFound(f"no app of {app!r} is registered; register it first: chowk app add --provider {app}")
        if connection.execute(text("SELECT 1 FROM core.tenants WHERE id = :id"), {"id": tenant_id}).scalar() is None:
            raise NotFound(f"there is no tenant {tenant_id!r}; see `chowk tenant list`")
        row = {
            "id": account_id, "tenant_id": tenant_id, "channel": channel, "external_id": external_id,
            "app_id": app_id, "name": name, "debounce_ms": debounce_ms,
            "sealed": sealed.ciphertext, "wrapped_key": sealed.wrapped_key,
        }  # fmt: skip
        try:
            connection.execute(insert, row)
        except IntegrityError as error:
            raise Conflict(f"the {channel} account {external_id!r} is registered already") from error
    return account_id


def add_app(admin_url: str, sealer: Sealer, *, provider: str, name: str, secrets: Secrets) -> AppId:
    """Register a provider's app that serves accounts of several tenants; gives its id.

    Raises:
        Conflict: this provider's app is registered already.
    """
    app_id = AppId(new_id("app"))
    sealed = seal_secrets(sealer, secrets, owner_id=app_id)
    insert = text(
        "INSERT INTO core.apps (id, provider, name, secrets_sealed, secrets_wrapped_key) "
        "VALUES (:id, :provider, :name, :sealed, :wrapped_key)"
    )
    row = {
        "id": app_id, "provider": provider, "name": name,
        "sealed": sealed.ciphertext, "wrapped_key": sealed.wrapped_key,
    }  # fmt: skip
    with administrator(admin_url) as connection:
        try:
            connection.execute(insert, row)
        except IntegrityError as error:
            raise Conflict(f"the app of {provider!r} is registered already; its URL is /webhooks/{provider}") from error
    return app_id


def list_accounts(admin_url: str, *, tenant_slug: str | None = None) -> list[AccountEntry]:
    """Every account, or those of one tenant, the oldest first."""
    statement = text(
        """
        SELECT a.id, a.tenant_id, t.slug AS tenant_slug, a.channel, a.external_id, a.name, a.state, p.provider AS app,
               a.created_at
        FROM core.accounts a JOIN core.tenants t ON t.id = a.tenant_id LEFT JOIN core.apps p ON p.id = a.app_id
        WHERE cast(:slug AS text) IS NULL OR t.slug = :slug ORDER BY a.id
        """
    )
    with administrator(admin_url) as connection:
        rows = connection.execute(statement, {"slug": tenant_slug}).mappings().all()
    return [AccountEntry(**row) for row in rows]
