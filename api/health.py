"""Whether this process lives, and whether it can do its work."""

import asyncio
from datetime import datetime
from typing import Literal

import redis.asyncio as redis
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from core.clock import utc_now
from core.errors import NotDurable
from core.settings import RedisSettings, load
from db.pools import Database
from db.probe import core_version, worker_polled_at

router = APIRouter(tags=["health"])

PROBE_S = 2.0
#: A worker that has not spoken to the database for this long does not poll.
WORKER_SILENT_S = 10.0

CheckState = Literal["ok", "warn", "fail"]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Check(BaseModel):
    """One thing that was looked at."""

    state: CheckState = Field(description="`warn` does not keep this process from accepting webhooks")
    detail: str


class Readiness(BaseModel):
    """Whether this process can accept webhooks durably and answer the read API."""

    ready: bool
    checks: dict[str, Check]


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> Alive:
    """Answer while the process lives; says nothing of what it depends on."""
    return Alive()


@router.get(
    "/readyz",
    summary="Whether the process can do its work",
    responses={503: {"model": Readiness, "description": "It cannot: see the checks that failed"}},
)
async def readyz(request: Request, response: Response) -> Readiness:
    """Look at Postgres and its schema, which are needed, and at Redis and the workers, which are reported."""
    database = request.app.state.database
    assert isinstance(database, Database)
    found = await asyncio.gather(_check_database(database), _check_worker(database), _check_redis())
    checks: dict[str, Check] = dict(zip(("database", "worker", "redis"), found, strict=True))
    ready = all(check.state != "fail" for check in found)
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)


async def _check_database(database: Database) -> Check:
    try:
        async with asyncio.timeout(PROBE_S):
            version = await core_version(database)
    except (NotDurable, TimeoutError) as error:
        return Check(state="fail", detail=f"Postgres does not answer: {str(error) or 'no answer in time'}")
    needed = _needed_version_above(version)
    if needed is not None:
        return Check(state="fail", detail=f"the schema is at {version}, this code needs {needed}: run `chowk migrate`")
    return Check(state="ok", detail=f"schema {version}")


async def _check_worker(database: Database) -> Check:
    try:
        async with asyncio.timeout(PROBE_S):
            polled_at = await worker_polled_at(database)
    except (NotDurable, TimeoutError):
        return Check(state="warn", detail="cannot tell: Postgres does not answer")
    return describe_worker(polled_at, now=utc_now())


def describe_worker(polled_at: datetime | None, *, now: datetime) -> Check:
    """What it means that a worker last spoke to the database then."""
    if polled_at is None:
        return Check(state="warn", detail="no worker is connected: webhooks are stored and wait; start `chowk worker`")
    silent_s = (now - polled_at).total_seconds()
    if silent_s > WORKER_SILENT_S:
        return Check(state="warn", detail=f"no worker has polled for {silent_s:.0f} s: look at the worker's log")
    return Check(state="ok", detail="a worker polls")


async def _check_redis() -> Check:
    client = redis.Redis.from_url(load(RedisSettings).url.get_secret_value(), socket_timeout=PROBE_S)
    try:
        async with asyncio.timeout(PROBE_S):
            await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        detail = (
            f"Redis does not answer ({str(error) or 'no answer in time'}): work is found by polling, up to 1 s later"
        )
        return Check(state="warn", detail=detail)
    finally:
        await client.aclose()
    return Check(state="ok", detail="answers")


def _needed_version_above(version: str) -> str | None:
    """The version that this code needs if the database's is older. A newer one is of the release that replaces it."""
    from db.versions import needed_versions, number  # Alembic and SQLAlchemy; only this probe needs them here

    needed = needed_versions()["core"]
    return needed if number(version) < number(needed) else None
