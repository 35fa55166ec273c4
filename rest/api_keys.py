"""API keys: `ak_<public>_<secret>`. Only the hash of a key is stored, so it is shown once, when it is made.

A key is 32 random bytes, too many to guess, so a plain SHA-256 is enough. The tenant comes from the key, never from
what a request says.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from core.errors import Forbidden, Overloaded, Unauthenticated
from core.ids import TenantId, new_id
from db.pools import Connection, Database
from db.transactions import edge_tx
from rest.expiring import Expiring

#: What a key may do: `read` looks, `write` acts.
SCOPES = ("read", "write")
SECRET_BYTES = 32
#: A revoked key still works this long in a process that has just seen it.
CACHE_S = 30.0
#: Keys that nobody issued are remembered for less: one may be issued any moment.
UNKNOWN_CACHE_S = 2.0
CACHE_SIZE_MAX = 10_000
#: Strangers with made-up keys must not take every database connection.
LOOKUPS_CONCURRENT_MAX = 2
LOOKUPS_WAITING_MAX = 200

_SHAPE = re.compile(r"ak_[0-9a-z]{26}_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who calls: a key of a tenant and what it may do."""

    id: str
    tenant_id: TenantId
    scopes: frozenset[str]


async def create_api_key(
    connection: Connection,
    *,
    tenant_id: TenantId,
    name: str,
    scopes: Sequence[str] = SCOPES,
    expires_at: datetime | None = None,
) -> str:
    """Make a key of this tenant; gives the key itself, which is nowhere else. Needs `tenant_tx`."""
    key_id = new_id("ak")
    key = f"{key_id}_{secrets.token_hex(SECRET_BYTES)}"
    await connection.execute(
        """
        INSERT INTO core.api_keys (id, tenant_id, name, secret_sha256, scopes, expires_at)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (key_id, tenant_id, name, _hash(key), list(scopes), expires_at),
    )
    return key


class ApiKeys:
    """Looks keys up, and remembers them for a while. One per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Expiring[bytes, ApiKey] = Expiring(ttl_s=CACHE_S, size_max=CACHE_SIZE_MAX)
        self._unknown: Expiring[bytes, bool] = Expiring(ttl_s=UNKNOWN_CACHE_S, size_max=CACHE_SIZE_MAX)
        self._lookups = asyncio.Semaphore(LOOKUPS_CONCURRENT_MAX)
        self._waiting = 0

    async def find(self, key: str) -> ApiKey:
        """Whose key this is.

        Raises:
            Unauthenticated: nobody issued it, or it is revoked or expired.
            Overloaded: too many look-ups wait.
            NotDurable: the database does not answer.
        """
        digest = _hash(key)
        found = self._known.get(digest)
        if found is not None:
            return found
        if _SHAPE.fullmatch(key) is None or self._unknown.get(digest):
            raise _unknown_key()
        if self._waiting >= LOOKUPS_WAITING_MAX:
            raise Overloaded("too many API keys are being looked up; try again")
        self._waiting += 1
        try:
            async with self._lookups:
                return self._known.get(digest) or await self._look_up(digest)
        finally:
            self._waiting -= 1

    async def _look_up(self, digest: bytes) -> ApiKey:
        async with edge_tx(self._database, commit="api_key") as connection:
            cursor = await connection.execute("SELECT id, tenant_id, scopes FROM core.api_key_by_hash(%s)", (digest,))
            row = await cursor.fetchone()
        if row is None:
            self._unknown.put(digest, value=True)
            raise _unknown_key()
        key = ApiKey(row["id"], row["tenant_id"], frozenset(row["scopes"]))
        self._known.put(digest, key)
        return key


_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer ak_…`")
_header = APIKeyHeader(name="x-api-key", auto_error=False, description="The same API key")


async def _caller(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> ApiKey:
    key = bearer.credentials if bearer else header
    if not key:
        raise Unauthenticated("this needs an API key: send it as `Authorization: Bearer ak_…` or as `x-api-key`")
    keys = request.app.state.api_keys
    assert isinstance(keys, ApiKeys)
    return await keys.find(key)


async def _reader(key: Annotated[ApiKey, Depends(_caller)]) -> ApiKey:
    if "read" not in key.scopes:
        raise Forbidden(f"the API key {key.id} does not have the scope 'read'")
    return key


async def _writer(key: Annotated[ApiKey, Depends(_caller)]) -> ApiKey:
    if "write" not in key.scopes:
        raise Forbidden(f"the API key {key.id} does not have the scope 'write'")
    return key


#: The caller of a route that only looks.
Reader = Annotated[ApiKey, Depends(_reader)]
#: The caller of a route that acts.
Writer = Annotated[ApiKey, Depends(_writer)]


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _unknown_key() -> Unauthenticated:
    return Unauthenticated("this API key is unknown, revoked or expired; make one with: chowk api-key create")
