import pytest

from channels.accounts import (
    account,
    open_secrets,
    seal_secrets,
    stop_account,
    webhook_source,
)
from channels.protocol import Secrets
from channels.registration import add_account, add_app, list_accounts
from core.crypto import Sealer
from core.errors import Broken, Conflict, NotFound
from core.ids import AccountId, TenantId, new_id
from db.pools import Database
from db.transactions import edge_tx, tenant_tx
from tests.builders import a_number, an_organisation, rows, the_meta_app

SECRETS = Secrets(signing=(b"new \x00\xff", b"old"), verify_token="verify ✓", access_token="token")


def test_secrets_open_as_they_were_sealed(sealer: Sealer) -> None:
    sealed = seal_secrets(sealer, SECRETS, owner_id="acc_1")
    row = {"secrets_sealed": sealed.ciphertext, "secrets_wrapped_key": sealed.wrapped_key}
    assert open_secrets(sealer, row, owner_id="acc_1") == SECRETS


def test_secrets_that_were_moved_to_another_row_do_not_open(sealer: Sealer) -> None:
    sealed = seal_secrets(sealer, SECRETS, owner_id="acc_1")
    row = {"secrets_sealed": sealed.ciphertext, "secrets_wrapped_key": sealed.wrapped_key}
    with pytest.raises(Broken):
        open_secrets(sealer, row, owner_id="acc_2")


def test_secrets_do_not_open_with_another_key(sealer: Sealer) -> None:
    sealed = seal_secrets(sealer, SECRETS, owner_id="acc_1")
    row = {"secrets_sealed": sealed.ciphertext, "secrets_wrapped_key": sealed.wrapped_key}
    with pytest.raises(Broken, match="CHOWK_SECRET_KEY"):
        open_secrets(Sealer(b"x" * 32), row, owner_id="acc_1")


def an_account(admin_url: str, sealer: Sealer, tenant_id: TenantId, *, app: str | None = None) -> tuple[AccountId, str]:
    external_id = a_number()
    account_id = add_account(
        admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id=external_id, name="Main line",
        secrets=SECRETS, app=app, debounce_ms=250,
    )  # fmt: skip
    return account_id, external_id


async def test_the_edge_finds_an_account_by_its_id(
    database: Database, admin_url: str, sealer: Sealer, tenant: TenantId
) -> None:
    account_id, _ = an_account(admin_url, sealer, tenant)
    async with edge_tx(database, commit="test") as connection:
        source = await webhook_source(connection, sealer, account_id)
    assert source is not None
    assert (source.id, source.tenant_id, source.channel, source.secrets) == (account_id, tenant, "whatsapp", SECRETS)


async def test_the_edge_finds_an_app_by_its_provider_and_it_has_no_tenant(
    database: Database, admin_url: str, sealer: Sealer
) -> None:
    the_meta_app(admin_url, sealer)
    async with edge_tx(database, commit="test") as connection:
        source = await webhook_source(connection, sealer, "meta")
    assert source is not None
    assert (source.id[:4], source.tenant_id, source.channel) == ("app_", None, "meta")


async def test_the_edge_finds_nothing_else(database: Database, sealer: Sealer) -> None:
    async with edge_tx(database, commit="test") as connection:
        assert await webhook_source(connection, sealer, new_id("acc")) is None


async def test_a_tenant_sends_from_its_own_accounts_alone(
    database: Database, admin_url: str, sealer: Sealer, tenant: TenantId
) -> None:
    account_id, external_id = an_account(admin_url, sealer, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        found = await account(connection, sealer, account_id)
    assert (found.channel, found.stopped, found.debounce_ms) == ("whatsapp", False, 250)
    assert (found.sending.external_id, found.sending.secrets) == (external_id, SECRETS)
    stranger = an_organisation(admin_url, sealer)
    async with tenant_tx(database, stranger.tenant_id, commit="test") as connection:
        with pytest.raises(NotFound):
            await account(connection, sealer, account_id)


async def test_a_stopped_account_says_why_and_keeps_its_first_reason(
    database: Database, admin_url: str, sealer: Sealer, tenant: TenantId
) -> None:
    account_id, _ = an_account(admin_url, sealer, tenant)
    async with tenant_tx(database, tenant, commit="test") as connection:
        await stop_account(connection, account_id, reason="190: the access token has expired")
        await stop_account(connection, account_id, reason="and again")
        found = await account(connection, sealer, account_id)
    assert (found.stopped, found.stop_reason) == (True, "190: the access token has expired")


def test_an_account_is_registered_once(admin_url: str, sealer: Sealer, tenant: TenantId) -> None:
    _, external_id = an_account(admin_url, sealer, tenant)
    with pytest.raises(Conflict, match=external_id):
        add_account(
            admin_url, sealer, tenant_id=tenant, channel="whatsapp", external_id=external_id, name="",
            secrets=SECRETS,
        )  # fmt: skip


def test_an_account_of_no_tenant_or_no_app_is_refused(admin_url: str, sealer: Sealer, tenant: TenantId) -> None:
    with pytest.raises(NotFound, match="tenant"):
        an_account(admin_url, sealer, TenantId(new_id("t")))
    with pytest.raises(NotFound, match="no app of 'nobody'"):
        an_account(admin_url, sealer, tenant, app="nobody")


def test_an_app_is_registered_once(admin_url: str, sealer: Sealer) -> None:
    the_meta_app(admin_url, sealer)
    with pytest.raises(Conflict, match="/webhooks/meta"):
        add_app(admin_url, sealer, provider="meta", name="again", secrets=SECRETS)


async def test_a_listing_shows_accounts_and_no_secrets(
    database: Database, admin_url: str, sealer: Sealer, tenant: TenantId
) -> None:
    account_id, external_id = an_account(admin_url, sealer, tenant)
    (slug,) = await rows(database, tenant, "SELECT slug FROM core.tenants")
    (entry,) = list_accounts(admin_url, tenant_slug=slug["slug"])
    assert (entry.id, entry.external_id, entry.state, entry.app) == (account_id, external_id, "active", None)
    assert "token" not in repr(entry)
    assert account_id in {entry.id for entry in list_accounts(admin_url)}
