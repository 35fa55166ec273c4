from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from api.health import describe_worker
from core.crypto import Sealer
from core.settings import DatabaseSettings
from db.pools import open_database
from db.versions import newest_versions
from sandbox.ports import free_port
from tests.api.conftest import RunningApi, running
from tests.api.webhooks import path_of, signed
from tests.builders import Organisation
from tests.conftest import Stack
from tests.eventually import eventually

NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)


async def test_a_process_that_answers_lives(api: RunningApi) -> None:
    answer = await api.client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_a_process_with_its_database_and_schema_is_ready(api: RunningApi) -> None:
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    checks = answer.json()["checks"]
    assert (checks["database"]["state"], checks["redis"]["state"]) == ("ok", "ok")


async def test_without_redis_a_process_is_ready_and_says_that_it_is_slower(
    api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port(None)}/0")
    answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["redis"]["state"]) == (200, "warn")


async def test_a_worker_that_is_connected_is_seen(api: RunningApi, stack: Stack) -> None:
    settings = DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url})
    worker = await open_database(settings, application="worker test")
    try:
        answer = await api.client.get("/readyz")
    finally:
        await worker.close()
    assert answer.json()["checks"]["worker"] == {"state": "ok", "detail": "a worker polls"}


async def test_without_its_database_a_process_is_alive_and_not_ready(
    stack: Stack, sealer: Sealer, tmp_path: Path
) -> None:
    settings = DatabaseSettings.model_validate({"DATABASE_URL": stack.app_url})
    away = await open_database(settings, application="away")
    await away.close()
    async with running(away, sealer, tmp_path) as api:
        assert (await api.client.get("/healthz")).status_code == 200
        answer = await api.client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]["state"]) == (503, "fail")


async def test_an_old_schema_is_not_ready_and_says_what_to_run(api: RunningApi, admin_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE core.schema_version SET version_num = 'core_0000'")
        try:
            answer = await api.client.get("/readyz")
        finally:
            newest = newest_versions()["core"]
            await connection.execute("UPDATE core.schema_version SET version_num = %s", (newest,))
    assert answer.status_code == 503
    assert "chowk migrate" in answer.json()["checks"]["database"]["detail"]


async def test_a_schema_that_the_next_release_migrated_keeps_this_code_ready(api: RunningApi, admin_url: str) -> None:
    newest = newest_versions()["core"]
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as connection:
        await connection.execute("UPDATE core.schema_version SET version_num = 'core_9999'")
        try:
            answer = await api.client.get("/readyz")
        finally:
            await connection.execute("UPDATE core.schema_version SET version_num = %s", (newest,))
    assert answer.json()["checks"]["database"] == {"state": "ok", "detail": "schema core_9999"}


@pytest.mark.parametrize(
    ("silent_s", "state", "words"),
    [(0.5, "ok", "polls"), (9.0, "ok", "polls"), (11.0, "warn", "for 11 s"), (None, "warn", "no worker is connected")],
)
def test_a_worker_that_is_silent_is_reported(silent_s: float | None, state: str, words: str) -> None:
    polled_at = None if silent_s is None else NOW - timedelta(seconds=silent_s)
    check = describe_worker(polled_at, now=NOW)
    assert check.state == state
    assert words in check.detail


async def test_metrics_count_webhooks_by_answer_and_show_what_waits(
    api: RunningApi, organisation: Organisation
) -> None:
    before = await counted(api, 'chowk_webhooks_total{channel="whatsapp",status="200"}')
    body = b'{"counted":"once"}'
    await api.client.post(path_of(organisation), content=body, headers=signed(body))
    await api.client.post(path_of(organisation), content=body)
    assert await counted(api, 'chowk_webhooks_total{channel="whatsapp",status="200"}') == before + 1
    assert await counted(api, 'chowk_webhooks_total{channel="whatsapp",status="401"}') >= 1
    await eventually(lambda: something_waits(api))  # the queues are counted every two seconds at most


async def something_waits(api: RunningApi) -> bool:
    return await counted(api, 'chowk_queue_depth{queue="inbox"}') >= 1


async def test_strangers_cannot_make_labels(api: RunningApi) -> None:
    for number in range(20):
        await api.client.post(f"/webhooks/whatsapp/acc_{number}")
        await api.client.post(f"/webhooks/channel{number}/acc")
    text = (await api.client.get("/metrics")).text
    assert "channel1" not in text
    assert await counted(api, 'chowk_webhooks_total{channel="none",status="404"}') >= 40


async def counted(api: RunningApi, series: str) -> float:
    answer = await api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = [line.rpartition(" ")[2] for line in answer.text.splitlines() if line.startswith(series)]
    return float(values[0]) if values else 0.0
