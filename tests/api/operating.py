"""Operating runs over HTTP: a scene whose runs are taken one by one, and somebody of its tenant who may act."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from core.crypto import Sealer
from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.test_conversations import key_of
from tests.builders import an_organisation
from tests.conftest import Stack
from tests.graphs.operated import Operated, operated


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who may read and act."""

    api: RunningApi
    scene: Operated
    headers: dict[str, str]

    async def post(self, path: str, body: object = None, *, key: str | None = None) -> httpx.Response:
        """Ask a run for something; `key` is the idempotency key."""
        headers = self.headers | ({"idempotency-key": key} if key else {})
        return await self.api.client.post(f"/v1/runs/{path}", json=body, headers=headers)

    async def get(self, path: str = "", **query: Any) -> Any:
        """What a route of runs answers."""
        answer = await self.api.client.get(f"/v1/runs{path}", params=query, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, body: object, *, status: int, key: str | None = None) -> str:
        """The words with which a request is refused; nothing may have changed."""
        before = await self.scene.everything()
        answer = await self.post(path, body, key=key)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
        assert await self.scene.everything() == before
        return answer.json()["detail"]

    async def stranger(self, stack: Stack, sealer: Sealer) -> "Operator":
        """Somebody of another tenant."""
        tenant_id = an_organisation(stack.admin_url, sealer).tenant_id
        return Operator(self.api, self.scene, await key_of(self.scene.database, tenant_id, scopes=("read", "write")))


@asynccontextmanager
async def operating(api: RunningApi, stack: Stack, database: Database, sealer: Sealer) -> AsyncGenerator[Operator]:
    """Somebody who operates the runs of an organisation of this test alone."""
    async with operated(stack, database, sealer) as scene:
        yield Operator(api, scene, await key_of(database, scene.tenant_id, scopes=("read", "write")))
