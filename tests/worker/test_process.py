import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisUnreachable

from core.crypto import Sealer
from db.jobs import schedule
from db.pools import Database
from db.transactions import tenant_tx
from inbox.doorbell import WAKE_TASK, producer
from tests.builders import Organisation, a_body, a_change, a_number, a_text, an_organisation, rows, store
from tests.conftest import Stack
from tests.eventually import eventually
from tests.outbox.provider_server import Received, a_provider
from tests.worker.a_worker import STOP_S, Worker, a_free_port, a_redis, a_worker, nobody_listens
from worker.process import EXIT_REFUSED

pytestmark = pytest.mark.usefixtures("stack")


@pytest.fixture
def organisation(stack: Stack, sealer: Sealer) -> Organisation:
    return an_organisation(stack.admin_url, sealer)


@pytest.fixture
def provider() -> Iterator[Received]:
    with a_provider() as received:
        yield received


async def write_in(database: Database, sealer: Sealer, organisation: Organisation, text: str) -> str:
    """Someone writes to the organisation; gives who."""
    sender = a_number()
    body = a_body([a_change(organisation.phone_number_id, messages=[a_text(text, sender=sender)])])
    await store(database, sealer, organisation.account_id, body)
    return sender


async def replies_to(received: Received, sender: str) -> list[dict[str, Any]]:
    return [body for body in received.bodies if body.get("to") == sender]


async def test_without_a_broker_a_message_is_answered_and_a_due_job_is_run(
    database: Database, sealer: Sealer, organisation: Organisation, provider: Received
) -> None:
    with a_worker(redis_url=nobody_listens(), graph_url=provider.url) as worker:
        await eventually(worker.is_ready)
        sender = await write_in(database, sealer, organisation, "What is the meaning of life?")
        async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
            await schedule(
                connection, tenant_id=organisation.tenant_id, kind="nobody runs this", unique_key="k",
                due_at=datetime.now(UTC),
            )  # fmt: skip

        async def answered() -> bool:
            query = "SELECT state FROM core.jobs WHERE kind = 'nobody runs this'"
            [job] = await rows(database, organisation.tenant_id, query)
            return bool(await replies_to(provider, sender)) and job["state"] == "dead"

        await eventually(answered)
        assert worker.stop() == 0
    assert len(await replies_to(provider, sender)) == 1
    [message] = await rows(database, organisation.tenant_id, "SELECT status FROM messages WHERE direction = 'outbound'")
    assert message["status"] == "sent"


async def test_a_child_that_is_killed_while_the_broker_is_away_is_started_again() -> None:
    with a_worker(redis_url=nobody_listens()) as worker:
        await started_again_after_kill(worker)
        await started_again_after_kill(worker)
        assert worker.stop() == 0


async def started_again_after_kill(worker: Worker) -> None:
    await eventually(worker.is_ready)
    [child] = worker.children()
    worker.ready_file.unlink()
    os.kill(child, signal.SIGKILL)

    async def replaced() -> bool:
        return child not in worker.children() and len(worker.children()) == 1

    await eventually(replaced)
    await eventually(worker.is_ready)


async def test_a_worker_hears_the_bell_whenever_the_broker_comes_and_goes() -> None:
    port = a_free_port()
    with a_worker(redis_url=f"redis://127.0.0.1:{port}/0") as worker:
        await eventually(worker.is_ready)
        for _ in range(2):
            with a_redis(port) as url:
                await a_ring_is_taken(url)
        assert worker.stop() == 0


async def a_ring_is_taken(url: str) -> None:
    async with Redis.from_url(url) as redis:
        await eventually(partial(answers, redis))
        producer(url).send_task(WAKE_TASK, queue="interactive", ignore_result=True)

        async def taken() -> bool:
            return await redis.llen("interactive") == 0

        await eventually(taken)


async def answers(redis: Redis) -> bool:
    try:
        return bool(await redis.ping())
    except RedisUnreachable:
        return False


async def test_a_stopping_worker_lets_a_send_come_to_its_end(
    database: Database, sealer: Sealer, organisation: Organisation, provider: Received
) -> None:
    provider.may_answer.clear()
    with a_worker(redis_url=nobody_listens(), graph_url=provider.url) as worker:
        await eventually(worker.is_ready)
        sender = await write_in(database, sealer, organisation, "What is the meaning of life?")

        async def is_sending() -> bool:
            return bool(await replies_to(provider, sender))

        await eventually(is_sending)
        worker.process.send_signal(signal.SIGTERM)
        await eventually(partial(draining, worker))
        provider.may_answer.set()
        assert worker.process.wait(STOP_S) == 0
    [effect] = await rows(database, organisation.tenant_id, "SELECT state FROM core.effects WHERE kind = 'send'")
    assert effect["state"] == "sent"


async def draining(worker: Worker) -> bool:
    return "Warm shutdown" in worker.log.read_text()


def test_a_worker_with_an_unsafe_login_does_not_start(stack: Stack) -> None:
    with a_worker(redis_url=nobody_listens(), DATABASE_URL=stack.admin_url) as worker:
        assert worker.process.wait(STOP_S) != 0
        assert "superuser" in worker.log.read_text()


def test_a_worker_whose_model_lacks_its_key_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with a_worker(redis_url=nobody_listens(), CHOWK_MODEL="google_genai:gemini-2.5-flash") as worker:
        assert worker.process.wait(STOP_S) == EXIT_REFUSED
        assert "GOOGLE_API_KEY" in worker.log.read_text()
