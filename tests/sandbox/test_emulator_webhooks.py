"""The webhooks of the emulator, read on the wire by a receiver of their own."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest

from tests.sandbox.emulated import FARAH, NUMBER, PRIYA, SECRET, Emulated, emulated, eventually


@pytest.fixture
async def emulator() -> AsyncIterator[Emulated]:
    async with emulated() as running:
        yield running


async def deliveries(emulator: Emulated, **query: object) -> list[dict]:
    return (await emulator.client.get("/sandbox/deliveries", params=query)).json()["items"]


async def test_an_accepted_message_is_sent_delivered_and_read(emulator: Emulated) -> None:
    sent = (await emulator.send(text="Hello", biz_opaque_callback_data="effect-1")).json()["messages"][0]["id"]
    statuses = await emulator.product.statuses(3)
    assert [status["status"] for status in statuses] == ["sent", "delivered", "read"]
    for status in statuses:
        assert status["id"] == sent
        assert status["recipient_id"] == PRIYA
        assert status["biz_opaque_callback_data"] == "effect-1"
        assert status["timestamp"].isdigit()
    first, second, third = statuses
    assert first["pricing"]["category"] == "service"
    assert first["conversation"]["id"] == second["conversation"]["id"]
    assert "expiration_timestamp" in first["conversation"]
    assert "expiration_timestamp" not in second["conversation"]
    assert "conversation" not in third


async def test_every_webhook_is_signed_over_its_exact_bytes(emulator: Emulated) -> None:
    await emulator.act(text="नमस्ते 🙏 a/b é")
    received = (await emulator.product.until(lambda all_: len(all_) == 1))[0]
    expected = hmac.new(SECRET.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-hub-signature-256"] == f"sha256={expected}"
    assert b"\\u0928" in received.body
    assert b"\\ud83d\\ude4f a\\/b \\u00e9" in received.body
    assert received.body.isascii()
    assert received.value()["messages"][0]["text"] == {"body": "नमस्ते 🙏 a/b é"}


async def test_a_text_has_the_shape_of_meta(emulator: Emulated) -> None:
    done = await emulator.act(text="Hello")
    received = (await emulator.product.until(lambda all_: len(all_) == 1))[0].json()
    timestamp = received["entry"][0]["changes"][0]["value"]["messages"][0]["timestamp"]
    assert received == {
        "object": "whatsapp_business_account",
        "entry": [
            {
                "id": "102290129340398",
                "changes": [
                    {
                        "value": {
                            "messaging_product": "whatsapp",
                            "metadata": {"display_phone_number": "918041234567", "phone_number_id": NUMBER},
                            "contacts": [{"profile": {"name": "Priya Nair"}, "wa_id": PRIYA}],
                            "messages": [
                                {
                                    "from": PRIYA,
                                    "id": done["id"],
                                    "timestamp": timestamp,
                                    "type": "text",
                                    "text": {"body": "Hello"},
                                }
                            ],
                        },
                        "field": "messages",
                    }
                ],
            }
        ],
    }
    assert done["id"].startswith("wamid.HBgMOTE5ODAwMDAwMDAxFQIAEhgg")


async def test_a_person_known_by_user_id_alone_has_no_number_anywhere(emulator: Emulated) -> None:
    await emulator.act(customer=FARAH, text="Hello")
    message = (await emulator.product.until(lambda all_: len(all_) == 1))[0].value()
    assert message["contacts"] == [{"profile": {"name": "Farah", "username": "farah.writes"}, "user_id": FARAH}]
    assert message["messages"][0]["from_user_id"] == FARAH
    assert "from" not in message["messages"][0]
    await emulator.send(text="Hi", to=None, recipient=FARAH)
    status = (await emulator.product.statuses(1))[0]
    assert status["recipient_user_id"] == FARAH
    assert "recipient_id" not in status


async def test_a_webhook_that_is_refused_comes_again_byte_for_byte(emulator: Emulated) -> None:
    emulator.product.answers[:] = [503, 500]
    await emulator.act(text="Hello")
    received = await emulator.product.until(lambda all_: len(all_) == 3)
    assert len({one.body for one in received}) == 1
    (delivery,) = await eventually(lambda: deliveries(emulator, state="delivered"))
    assert delivery["answers"] == [503, 500, 200]
    assert delivery["label"] == "messages/text"


async def test_a_webhook_nobody_takes_is_given_up_at_last() -> None:
    async with emulated(delivery={"retry_delays_s": [0.001], "attempts_max": 3}) as emulator:
        emulator.product.answers[:] = [500] * 3
        await emulator.act(text="Hello")
        await emulator.product.until(lambda all_: len(all_) == 3)
        found = await eventually(lambda: deliveries(emulator, state="given_up"))
        assert found[0]["attempts"] == 3
        (message,) = await emulator.transcript()
        assert message["tick"] == "sent"
        assert message["trouble"] == "The organisation's system answered 500; given up."


async def test_messages_of_one_customer_arrive_in_their_order(emulator: Emulated) -> None:
    for number in range(8):
        await emulator.act(text=f"message {number}")
    received = await emulator.product.until(lambda all_: len(all_) == 8)
    words = [one.value()["messages"][0]["text"]["body"] for one in received]
    assert words == [f"message {number}" for number in range(8)]


async def test_a_delivered_webhook_can_be_posted_once_more(emulator: Emulated) -> None:
    await emulator.act(text="Hello")
    await emulator.product.until(lambda all_: len(all_) == 1)
    (delivery,) = await deliveries(emulator, bodies=True)
    await emulator.client.post(f"/sandbox/deliveries/{delivery['number']}/again")
    received = await emulator.product.until(lambda all_: len(all_) == 2)
    assert received[0].body == received[1].body == delivery["body"].encode()


async def test_statuses_can_be_reordered_doubled_and_switched_off(emulator: Emulated) -> None:
    plan = {"order": ["read", "sent"], "delays_ms": [1, 2], "copies": 2}
    assert (await emulator.client.put("/sandbox/statuses", json=plan)).status_code == 200
    await emulator.send(text="Hello")
    assert [one["status"] for one in await emulator.product.statuses(4)] == ["read", "read", "sent", "sent"]
    await emulator.client.put("/sandbox/statuses", json={"enabled": False})
    await emulator.send(text="Silent")
    await emulator.act(text="Still there?")
    received = await emulator.product.until(lambda all_: len(all_) == 5)
    assert "messages" in received[-1].value()


async def test_an_answer_in_the_businesss_own_app_is_echoed(emulator: Emulated) -> None:
    path = f"/sandbox/businesses/{NUMBER}/echoes"
    await emulator.client.post(path, json={"customer": PRIYA, "text": "I am a person"})
    received = (await emulator.product.until(lambda all_: len(all_) == 1))[0]
    change = received.json()["entry"][0]["changes"][0]
    assert change["field"] == "smb_message_echoes"
    echo = change["value"]["message_echoes"][0]
    assert (echo["from"], echo["to"], echo["text"]) == ("918041234567", PRIYA, {"body": "I am a person"})
    assert [message["by_app"] for message in await emulator.transcript()] == [True]


async def test_the_handshake_reports_whether_the_challenge_came_back(emulator: Emulated) -> None:
    path = f"/sandbox/businesses/{NUMBER}/subscribe"
    assert (await emulator.client.post(path)).json()["subscribed"] is True
    emulator.product.verify_token = "another"
    answer = (await emulator.client.post(path)).json()
    assert (answer["subscribed"], answer["http_status"]) == (False, 403)
    assert "wrong token" in answer["detail"]


async def test_the_payload_of_a_delivery_is_readable_json(emulator: Emulated) -> None:
    await emulator.act(text="Hello")
    (delivery,) = await deliveries(emulator, bodies=True)
    assert json.loads(delivery["body"])["object"] == "whatsapp_business_account"
