"""The peer: what most services do. FastAPI checks the signature, and the body travels through Celery's queue in Redis.

Redis does not write to disk here, so what it has acknowledged is gone when it is killed; the peer is measured at its
cheapest. `delay` runs in a thread, as it blocks.
"""

import hashlib
import hmac
import os
from typing import Any

from celery import Celery
from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from bench.scene import PEER_QUEUE, PEER_SECRET
from core.settings import RedisSettings, load


def create_app() -> FastAPI:
    """The application, for the server's factory."""
    secret = os.environ[PEER_SECRET].encode()
    celery = Celery("peer", broker=load(RedisSettings).url.get_secret_value(), set_as_current=False)
    celery.conf.update(task_ignore_result=True, task_default_queue=PEER_QUEUE)

    def handle(body: str) -> int:
        return len(body)

    task: Any = celery.task(name="peer.handle")(handle)  # Any: Celery's tasks are not typed

    app = FastAPI()

    @app.post("/webhook")
    async def webhook(request: Request) -> dict[str, str]:
        body = await request.body()
        given = request.headers.get("x-hub-signature-256", "")
        expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise HTTPException(403)
        await run_in_threadpool(task.delay, body.decode())
        return {"status": "ok"}

    return app
