"""What stands behind each webhook path: whose it is, its secrets, and how its provider signs.

Remembered for half a minute per process; what does not exist is remembered too, more briefly, so that a stranger who
guesses does not cost a database query each time.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from channels import meta
from channels.accounts import WebhookSource, webhook_source
from channels.protocol import Secrets, SignatureCheck
from channels.registry import CHANNELS
from core.crypto import Sealer
from core.errors import NotFound, Overloaded
from db.pools import Database
from db.transactions import edge_tx
from rest.expiring import Expiring

CACHE_S = 30.0
UNKNOWN_CACHE_S = 3.0
CACHE_SIZE_MAX = 4_096
#: Strangers' guesses must not take the connections that store webhooks.
LOOKUPS_CONCURRENT_MAX = 2
LOOKUPS_WAITING_MAX = 500

_PATH = re.compile(r"/webhooks/([a-z0-9_]{1,32})(?:/([a-z0-9_]{1,64}))?")


class Receiver(Protocol):
    """The part of a channel that the edge needs."""

    @property
    def body_bytes_max(self) -> int:
        """The largest webhook body this provider sends."""
        ...

    def handshake(self, query: Mapping[str, str], secrets: Secrets) -> str:
        """Answer the provider's check of our URL."""
        ...

    def signature_check(self, headers: Mapping[str, bytes], secrets: Secrets) -> SignatureCheck:
        """Begin the check of one request."""
        ...


@dataclass(frozen=True, slots=True)
class MetaApp:
    """The receiver of one Meta app that serves accounts of several tenants and channels."""

    #: Meta states 3 MB for a webhook body.
    body_bytes_max: int = 3 * 1024 * 1024

    def handshake(self, query: Mapping[str, str], secrets: Secrets) -> str:
        """Answer Meta's check of our URL."""
        return meta.handshake(query, secrets)

    def signature_check(self, headers: Mapping[str, bytes], secrets: Secrets) -> SignatureCheck:
        """Begin the check of one request."""
        return meta.signature_check(headers, secrets)


#: Providers whose app has one URL for all its accounts.
APPS: Final[Mapping[str, Receiver]] = MappingProxyType({"meta": MetaApp()})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One webhook path that exists."""

    receiver: Receiver
    source: WebhookSource


class Endpoints:
    """Finds what stands behind a path. One per process."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._known: Expiring[str, Endpoint] = Expiring(ttl_s=CACHE_S, size_max=CACHE_SIZE_MAX)
        self._unknown: Expiring[str, bool] = Expiring(ttl_s=UNKNOWN_CACHE_S, size_max=CACHE_SIZE_MAX)
        self._lookups = asyncio.Semaphore(LOOKUPS_CONCURRENT_MAX)
        self._waiting = 0

    def known(self, path: str) -> Endpoint | None:
        """What stands behind this path, if that was found a moment ago."""
        return self._known.get(path)

    async def find(self, path: str) -> Endpoint:
        """What stands behind this path.

        Raises:
            NotFound: nothing does.
            Overloaded: too many look-ups wait.
            NotDurable: the database does not answer.
        """
        receiver, name = _parse(path)
        if self._unknown.get(path):
            raise _nothing_at(path)
        if self._waiting >= LOOKUPS_WAITING_MAX:
            raise Overloaded("too many webhook paths are being looked up; try again")
        self._waiting += 1
        try:
            async with self._lookups:
                return self._known.get(path) or await self._look_up(path, receiver, name)
        finally:
            self._waiting -= 1

    async def _look_up(self, path: str, receiver: Receiver, name: str) -> Endpoint:
        async with edge_tx(self._database, commit="webhook_source") as connection:
            source = await webhook_source(connection, self._sealer, name)
        # The first word of the path is the channel or the provider's app; an account answers under its own alone.
        if source is None or source.channel != path.split("/", 3)[2]:
            self._unknown.put(path, value=True)
            raise _nothing_at(path)
        endpoint = Endpoint(receiver, source)
        self._known.put(path, endpoint)
        return endpoint


def _parse(path: str) -> tuple[Receiver, str]:
    """The receiver for a path, and the account's id or the provider's name."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise _nothing_at(path)
    first, account_id = found.groups()
    receiver = APPS.get(first) if account_id is None else CHANNELS.get(first)
    if receiver is None:
        raise _nothing_at(path)
    return receiver, account_id or first


def _nothing_at(path: str) -> NotFound:
    return NotFound(f"no account receives webhooks at {path[:128]!r}; see `chowk account list`")
