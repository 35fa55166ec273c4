import asyncio
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channels.accounts import webhook_source
from channels.protocol import Secrets
from channels.registration import add_account
from core.crypto import Sealer
from core.errors import NotDurable
from core.ids import new_id
from db.pools import Database
from db.transactions import edge_tx
from inbox.blobs import open_body
from tests.api.conftest import RunningApi, running
from tests.api.webhooks import arriving, asgi_post, path_of, rows_of, signature_of, signed
from tests.builders import Organisation, a_number, the_meta_app
from tests.conftest import Stack

MIB = 1024 * 1024


async def test_a_signed_webhook_is_stored_sealed_for_its_tenant_and_rings_once(
    api: RunningApi, database: Database, sealer: Sealer, organisation: Organisation
) -> None:
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    answer = await api.client.post(path_of(organisation), content=body, headers=signed(body))
    assert (answer.status_code, answer.content) == (200, b"")
    (row,) = await rows_of(database, organisation.account_id)
    assert await open_body(sealer, row) == body
    assert (row["tenant_id"], row["channel"], row["verdict"]) == (organisation.tenant_id, "whatsapp", "signed")
    assert api.rings == [None]


async def test_the_trace_of_the_sender_goes_on_in_the_row(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = signed(b"{}", traceparent=f"00-{trace_id}-00f067aa0ba902b7-01")
    await api.client.post(path_of(organisation), content=b"{}", headers=headers)
    (row,) = await rows_of(database, organisation.account_id)
    assert row["trace_id"] == trace_id


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-\xff-\xff-01", "00-" + "g" * 32 + "-00f067aa0ba902b7-01"])
async def test_a_malformed_trace_becomes_a_fresh_one(
    api: RunningApi, database: Database, organisation: Organisation, traceparent: str
) -> None:
    said = await asgi_post(api, path_of(organisation), signed(b"{}", traceparent=traceparent), arriving(b"{}"))
    assert said[0]["status"] == 200
    (row,) = await rows_of(database, organisation.account_id)
    assert len(row["trace_id"]) == 32


async def test_the_same_webhook_again_is_accepted_and_stored_once(
    api: RunningApi, database: Database, organisation: Organisation
) -> None:
    answers = await asyncio.gather(
        *(api.client.post(path_of(organisation), content=b"{}", headers=signed(b"{}")) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len(await rows_of(database, organisation.account_id)) == 1


async def test_an_unsigned_webhook_is_refused(api: RunningApi, database: Database, organisation: Organisation) -> None:
    answer = await api.client.post(path_of(organisation), content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_missing")
    assert await rows_of(database, organisation.account_id) == []


@pytest.mark.parametrize(
    "signature",
    [
        signature_of(b"another body"),
        signature_of(b"{}", b"another secret"),
        signature_of(b"{}", b""),
        signature_of(b"{}")[len("sha256=") :],
        "sha256=",
        "sha256=" + "0" * 64,
        "sha1=" + "0" * 40,
        "sha256=\xe9\xff" + "0" * 60,
        "ünïcode",
        "",
        "0" * 100_000,
    ],
)
async def test_a_wrong_signature_is_refused_whatever_it_is_made_of(
    api: RunningApi, database: Database, organisation: Organisation, signature: str
) -> None:
    headers = {"x-hub-signature-256": signature}
    said = await asgi_post(api, path_of(organisation), headers, arriving(b"{}"))
    assert said[0]["status"] == 403
    assert await rows_of(database, organisation.account_id) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signature=st.binary(max_size=80))
async def test_no_bytes_in_the_signature_header_are_an_error_of_ours(
    api: RunningApi, organisation: Organisation, signature: bytes
) -> None:
    headers = {"x-hub-signature-256": signature.decode("latin-1")}
    said = await asgi_post(api, path_of(organisation), headers, arriving(b"{}"))
    assert said[0]["status"] == 403


async def test_both_secrets_are_live_while_one_is_being_rotated(
    api: RunningApi, database: Database, stack: Stack, sealer: Sealer, organisation: Organisation
) -> None:
    account_id = add_account(
        stack.admin_url, sealer, tenant_id=organisation.tenant_id, channel="whatsapp", external_id=a_number(), name="",
        secrets=Secrets((b"new secret", b"old secret")),
    )  # fmt: skip
    for secret in (b"new secret", b"old secret"):
        headers = {"x-hub-signature-256": signature_of(secret, secret)}
        answer = await api.client.post(f"/webhooks/whatsapp/{account_id}", content=secret, headers=headers)
        assert answer.status_code == 200
    assert len(await rows_of(database, account_id)) == 2


async def test_an_account_without_a_secret_of_its_own_accepts_nothing_at_its_own_path(
    api: RunningApi, stack: Stack, sealer: Sealer, organisation: Organisation
) -> None:
    account_id = add_account(
        stack.admin_url, sealer, tenant_id=organisation.tenant_id, channel="whatsapp", external_id=a_number(), name="",
        secrets=Secrets((b"",)),
    )  # fmt: skip
    headers = {"x-hub-signature-256": signature_of(b"{}", b"")}
    answer = await api.client.post(f"/webhooks/whatsapp/{account_id}", content=b"{}", headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/whatsapp/{unknown}",
        "/webhooks/meta/{account}",
        "/webhooks/whatsapp/meta",
        "/webhooks/whatsapp/{account}/more",
        "/webhooks/whatsapp",
        "/webhooks/carrier_pigeon/{account}",
        "/webhooks/",
        "/webhooks/whatsapp/' OR 1=1",
        "/webhooks/whatsapp/\x00",
        "/webhooks/whatsapp/\ud800",
        "/webhooks/../webhooks/whatsapp/{account}",
    ],
)
async def test_a_path_that_is_nobodys_is_not_found(api: RunningApi, organisation: Organisation, path: str) -> None:
    asked = path.format(account=organisation.account_id, unknown=new_id("acc"))
    for _ in range(2):
        said = await asgi_post(api, asked, signed(b"{}"), arriving(b"{}"))
        assert said[0]["status"] == 404


async def test_the_apps_path_stores_for_the_app_and_no_tenant(
    api: RunningApi, database: Database, stack: Stack, sealer: Sealer
) -> None:
    the_meta_app(stack.admin_url, sealer)
    body = new_id("body").encode()
    answer = await api.client.post("/webhooks/meta", content=body, headers=signed(body))
    assert answer.status_code == 200
    async with edge_tx(database, commit="test") as connection:
        source = await webhook_source(connection, sealer, "meta")
    assert source is not None
    (row,) = [row for row in await rows_of(database, source.id) if await open_body(sealer, row) == body]
    assert (row["tenant_id"], row["channel"]) == (None, "meta")


async def test_the_handshake_is_answered_with_the_bare_challenge(api: RunningApi, organisation: Organisation) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "verify", "hub.challenge": "1158201444"}
    answer = await api.client.get(path_of(organisation), params=query)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"hub.mode": "subscribe", "hub.verify_token": "wrong", "hub.challenge": "1"}, 403),
        ({"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "1"}, 403),
        ({"hub.mode": "subscribe", "hub.verify_token": "vérifÿ \ud83d\ude00", "hub.challenge": "1"}, 403),
        ({"hub.mode": "subscribe", "hub.challenge": "1"}, 403),
        ({"hub.verify_token": "verify", "hub.challenge": "1"}, 400),
        ({"hub.mode": "subscribe", "hub.verify_token": "verify"}, 400),
        ({}, 400),
        ({f"field{number}": "x" for number in range(50)}, 400),
    ],
)
async def test_a_wrong_handshake_is_refused(
    api: RunningApi, organisation: Organisation, query: dict[str, str], status: int
) -> None:
    encoded = httpx.QueryParams({k: v.encode("utf-8", "surrogatepass").decode("latin-1") for k, v in query.items()})
    answer = await api.client.get(path_of(organisation), params=encoded)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused(api: RunningApi, organisation: Organisation, method: str) -> None:
    answer = await api.client.request(method, path_of(organisation))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_what_is_not_durable_is_not_acknowledged(
    database: Database, sealer: Sealer, organisation: Organisation, tmp_path: Path
) -> None:
    async def refuse(*_body: object, **_fields: object) -> bool | None:
        raise NotDurable("the database is away")

    async with running(database, sealer, tmp_path, accept=refuse) as api:
        answer = await api.client.post(path_of(organisation), content=b"{}", headers=signed(b"{}"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "database" not in answer.text


async def test_a_defect_is_not_acknowledged_either(
    database: Database, sealer: Sealer, organisation: Organisation, tmp_path: Path
) -> None:
    async def fail(*_body: object, **_fields: object) -> bool | None:
        raise RuntimeError("a secret in a traceback")

    async with running(database, sealer, tmp_path, accept=fail) as api:
        answer = await api.client.post(path_of(organisation), content=b"{}", headers=signed(b"{}"))
    assert answer.status_code == 503
    assert "secret" not in answer.text


async def test_more_bytes_than_the_process_may_hold_are_shed_and_it_recovers(
    database: Database, sealer: Sealer, organisation: Organisation, tmp_path: Path
) -> None:
    storing, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_body: object, **_fields: object) -> bool | None:
        storing.set()
        await go_on.wait()
        return True

    async with running(database, sealer, tmp_path, accept=slow, inflight_bytes_max=MIB) as api:
        body = b"x" * (MIB - 10)
        first = asyncio.create_task(api.client.post(path_of(organisation), content=body, headers=signed(body)))
        await storing.wait()
        shed = await api.client.post(path_of(organisation), content=b"y" * 11, headers=signed(b"y" * 11))
        fits = asyncio.create_task(api.client.post(path_of(organisation), content=b"{}", headers=signed(b"{}")))
        go_on.set()
        assert (shed.status_code, shed.headers["retry-after"]) == (503, "1")
        assert (await first).status_code == (await fits).status_code == 200
        again = await api.client.post(path_of(organisation), content=body, headers=signed(body))
        assert again.status_code == 200
