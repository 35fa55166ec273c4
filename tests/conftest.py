"""Fixtures that every test may ask for: the migrated database, a fresh tenant, a sealer."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from core.crypto import Sealer
from core.ids import TenantId, new_id
from core.settings import DatabaseSettings
from db.migrate import migrate
from db.pools import Database, open_database
from db.provision import create_tenant
from tests.embedded import Embedded, embedded

__all__ = ["embedded"]

MASTER_KEY = b"k" * 32


@dataclass(frozen=True, slots=True)
class Stack:
    """The URLs of a migrated database and of Redis."""

    admin_url: str
    app_url: str
    redis_url: str


@pytest.fixture(scope="session")
def stack(embedded: Embedded) -> Iterator[Stack]:
    from urllib.parse import urlsplit

    password = urlsplit(embedded.app_url).password
    migrate(embedded.admin_url, app_password=password)
    environment = {
        "DATABASE_URL": embedded.app_url,
        "CHOWK_ADMIN_DATABASE_URL": embedded.admin_url,
        "REDIS_URL": embedded.redis_url,
        "CHOWK_SECRET_KEY": base64.b64encode(MASTER_KEY).decode(),
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    yield Stack(embedded.admin_url, embedded.app_url, embedded.redis_url)
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def admin_url(stack: Stack) -> str:
    return stack.admin_url


@pytest.fixture(scope="session")
async def database(stack: Stack) -> AsyncIterator[Database]:
    opened = await open_database(DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url}), application="tests")
    yield opened
    await opened.close()


@pytest.fixture
def tenant(stack: Stack) -> TenantId:
    """A tenant of this test alone."""
    return create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="A test tenant")


@pytest.fixture(scope="session")
def sealer() -> Sealer:
    return Sealer(MASTER_KEY)
