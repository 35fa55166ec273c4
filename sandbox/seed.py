"""The demo: two organisations that share one Meta app, their articles, their accounts, and what the emulator plays.

Running it again changes only what changed: articles are compared by their content, everything else is found again.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from channels.protocol import Secrets
from channels.registration import add_account, add_app, list_accounts
from core.crypto import Sealer
from core.errors import Conflict
from core.ids import TenantId
from core.settings import DatabaseSettings, SecretSettings, load
from db.pools import Database, open_database
from db.provision import create_tenant, tenant_by_slug
from db.transactions import tenant_tx
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from rest.api_keys import create_api_key
from sandbox.demo.content import DemoCustomer, DemoProfile, demo_slugs, load_articles, load_customers, load_profile
from sandbox.json_file import write_json

#: The organisation that `demo.json` speaks of first.
MAIN = "asha"
#: Numbers that no provider issues.
NUMBERS: Mapping[str, Mapping[str, str]] = {
    "asha": {
        "phone_number_id": "106540352242922",
        "waba_id": "102290129340398",
        "display_phone_number": "911140000100",
    },
    "nagar": {
        "phone_number_id": "106540352242933",
        "waba_id": "102290129340409",
        "display_phone_number": "912040000200",
    },
}


@dataclass(frozen=True, slots=True)
class MetaApp:
    """The secrets of the demo's one Meta app, which serves both organisations."""

    app_secret: str
    verify_token: str


async def seed_demo(
    *,
    admin_url: str,
    base_url: str,
    emulator_config: Path,
    remembered: Mapping[str, Any],  # Any: JSON, what this function gave the last time
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Make whatever of the demo is missing; gives the facts that `demo.json` shows.

    Args:
        admin_url: an administrator's database URL.
        base_url: of the API.
        emulator_config: the file from which the emulator learns whom it plays.
        remembered: the facts of the last run, with the secrets that only it knows; empty at first.
        say: prints one line of progress.
    """
    sealer = Sealer(load(SecretSettings).key())
    app = _app(admin_url, sealer)
    database = await open_database(load(DatabaseSettings), application="seed")
    try:
        organisations = {
            slug: await _organisation(database, admin_url, sealer, app, slug, remembered, base_url, say)
            for slug in demo_slugs()
        }
    finally:
        await database.close()
    _tell_emulator(emulator_config, organisations, base_url)
    main = organisations[MAIN]
    return {
        "tenant": main["tenant"],
        "api_key": main["api_key"],
        "accounts": main["accounts"],
        "meta_app": {
            "webhook_url": f"{base_url}/webhooks/meta",
            "app_secret": app.app_secret,
            "verify_token": app.verify_token,
        },
        "organisations": organisations,
    }


def _app(admin_url: str, sealer: Sealer) -> MetaApp:
    """The app; its secrets come from the master key, so that a seed that was interrupted finds the same again."""
    app = MetaApp(sealer.keyed_hash("demo app secret")[:32], sealer.keyed_hash("demo verify token")[:16])
    with suppress(Conflict):  # it is registered already
        add_app(admin_url, sealer, provider="meta", name="The demo's Meta app", secrets=_secrets(app, ""))
    return app


async def _organisation(
    database: Database,
    admin_url: str,
    sealer: Sealer,
    app: MetaApp,
    slug: str,
    remembered: Mapping[str, Any],
    base_url: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    profile = load_profile(slug)
    known = remembered.get("organisations", {}).get(slug, {})
    tenant_id = await asyncio.to_thread(_tenant, admin_url, profile)
    say(f"publishing the articles of {profile.name}")
    await _publish(database, tenant_id, slug)
    return {
        "name": profile.name,
        "tenant": tenant_id,
        "api_key": known.get("api_key") or await _api_key(database, tenant_id),
        "accounts": {"whatsapp": await asyncio.to_thread(_account, admin_url, sealer, app, tenant_id, slug, base_url)},
    }


def _tenant(admin_url: str, profile: DemoProfile) -> TenantId:
    found = tenant_by_slug(admin_url, profile.slug)
    if found is not None:
        return found
    shown = {key: value for key, value in asdict(profile).items() if key != "slug"}
    return create_tenant(admin_url, slug=profile.slug, name=profile.name, settings={"profile": shown})


def _account(
    admin_url: str, sealer: Sealer, app: MetaApp, tenant_id: TenantId, slug: str, base_url: str
) -> dict[str, str]:
    numbers = NUMBERS[slug]
    external_id = numbers["phone_number_id"]
    access_token = f"EAA{sealer.keyed_hash(f'demo access token {slug}')}"
    account_id = next(
        (entry.id for entry in list_accounts(admin_url, tenant_slug=slug) if entry.external_id == external_id), None
    ) or add_account(
        admin_url, sealer, tenant_id=tenant_id, channel="whatsapp", external_id=external_id, name="WhatsApp",
        secrets=_secrets(app, access_token), app="meta",
    )  # fmt: skip
    return {
        "account_id": account_id,
        "webhook_url": f"{base_url}/webhooks/whatsapp/{account_id}",
        "app_secret": app.app_secret,
        "verify_token": app.verify_token,
        "access_token": access_token,
        **numbers,
    }


async def _api_key(database: Database, tenant_id: TenantId) -> str:
    async with tenant_tx(database, tenant_id, commit="seed.api_key") as connection:
        return await create_api_key(connection, tenant_id=tenant_id, name="demo")


async def _publish(database: Database, tenant_id: TenantId, slug: str) -> None:
    articles = [
        Article(
            id=article.id, title=article.title, language=article.language, tags=article.tags,
            questions=article.questions, body=article.body, updated=article.updated,
        )
        for article in load_articles(slug)
    ]  # fmt: skip
    await publish_articles(database, tenant_id, articles, local_embedder())


def _tell_emulator(path: Path, organisations: Mapping[str, Mapping[str, Any]], base_url: str) -> None:
    businesses = [
        {
            "name": facts["name"],
            "slug": slug,
            "channel": "whatsapp",
            "webhook_url": f"{base_url}/webhooks/meta",
            **{
                key: facts["accounts"]["whatsapp"][key]
                for key in (
                    "phone_number_id", "waba_id", "display_phone_number", "access_token", "app_secret", "verify_token"
                )
            },
        }
        for slug, facts in organisations.items()
    ]  # fmt: skip
    write_json(path, {"businesses": businesses, "customers": [_customer(customer) for customer in load_customers()]})


def _customer(customer: DemoCustomer) -> dict[str, Any]:
    return {
        "name": customer.name,
        "wa_id": customer.wa_id,
        "bsuid": customer.bsuid,
        "username": customer.username,
        "about": customer.about,
        "talks_to": list(customer.talks_to),
        "try_asking": list(customer.try_asking),
    }


def _secrets(app: MetaApp, access_token: str) -> Secrets:
    return Secrets(signing=(app.app_secret.encode(),), verify_token=app.verify_token, access_token=access_token)
