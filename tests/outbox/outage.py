"""Taking the database away for a while, as a restart of its server does."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg


@asynccontextmanager
async def an_outage(admin_url: str) -> AsyncGenerator[None]:
    """Within the block nobody gets in, and whoever was in is out."""
    name = urlsplit(admin_url).path.removeprefix("/")
    elsewhere = urlsplit(admin_url)._replace(path="/postgres").geturl()
    allow = f"ALTER DATABASE {name} ALLOW_CONNECTIONS %s"
    async with await psycopg.AsyncConnection.connect(elsewhere, autocommit=True) as admin:
        await admin.execute((allow % "false").encode())
        try:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            yield
        finally:
            await admin.execute((allow % "true").encode())


async def outage_for(admin_url: str, seconds: float, began: asyncio.Event) -> None:
    """An outage of this length; `began` is set once it has begun."""
    async with an_outage(admin_url):
        began.set()
        await asyncio.sleep(seconds)
