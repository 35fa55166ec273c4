"""The product's own WhatsApp adapter against the emulator: each understands what the other says."""

from collections.abc import AsyncIterator

import pytest

from channels.events import (
    Identity,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    ReactionChanged,
    StatusChanged,
)
from channels.messages import Choice, OutboundButtons, OutboundList, OutboundMessage, OutboundText, ReadAndTyping
from channels.protocol import RoutedEvent, Secrets, SendingAccount, SendReceipt
from channels.registry import channel
from core.errors import ProviderRefused
from tests.sandbox.emulated import FARAH, NUMBER, PRIYA, SECRET, TOKEN, Emulated, emulated

SECRETS = Secrets(signing=(SECRET.encode(),), verify_token="verify-me", access_token=TOKEN)
ACCOUNT = SendingAccount(external_id=NUMBER, secrets=SECRETS)
TO_PRIYA = Identity(kind="wa_id", value=PRIYA)
WHATSAPP = channel("whatsapp")


@pytest.fixture
async def emulator() -> AsyncIterator[Emulated]:
    async with emulated() as running:
        yield running


async def send(emulator: Emulated, message: OutboundMessage) -> SendReceipt:
    return await WHATSAPP.send(message, ACCOUNT, correlation="effect-1", client=emulator.client)


async def events(emulator: Emulated, count: int) -> list[RoutedEvent]:
    """The events of the webhooks that arrived, each checked as the edge checks it."""
    routed: list[RoutedEvent] = []
    for received in await emulator.product.until(lambda all_: len(all_) >= count):
        headers = {name: value.encode() for name, value in received.headers.items()}
        check = WHATSAPP.signature_check(headers, SECRETS)
        check.update(received.body)
        assert check.verdict() == "signed"
        routed += WHATSAPP.normalise(received.body)
    return routed


@pytest.mark.parametrize(
    "message",
    [
        OutboundText(to=TO_PRIYA, text="Hello", reply_to="wamid.HBgM"),
        OutboundText(to=Identity(kind="bsuid", value=FARAH), text="Hello"),
        OutboundButtons(to=TO_PRIYA, text="Choose", buttons=(Choice(id="a", title="A"), Choice(id="b", title="B"))),
        OutboundList(
            to=TO_PRIYA, text="Choose", open_label="Menu", rows=(Choice(id="a", title="A", description="first"),)
        ),
    ],
)
async def test_what_the_adapter_sends_is_taken(emulator: Emulated, message: OutboundMessage) -> None:
    receipt = await send(emulator, message)
    listed = (await emulator.client.get("/sandbox/sent")).json()["items"]
    assert [(one["id"], one["correlation"]) for one in listed] == [(receipt.provider_message_id, "effect-1")]


async def test_statuses_bring_the_correlation_back(emulator: Emulated) -> None:
    receipt = await send(emulator, OutboundText(to=TO_PRIYA, text="Hello"))
    changes = [routed.event for routed in await events(emulator, 3)]
    assert all(isinstance(event, StatusChanged) for event in changes)
    found = [(e.status, e.provider_message_id, e.correlation) for e in changes if isinstance(e, StatusChanged)]
    expected = [(status, receipt.provider_message_id, "effect-1") for status in ("sent", "delivered", "read")]
    assert found == expected


async def test_everything_a_customer_does_has_a_word_in_the_vocabulary(emulator: Emulated) -> None:
    await emulator.client.put("/sandbox/statuses", json={"enabled": False})
    offer = OutboundButtons(to=TO_PRIYA, text="Choose", buttons=(Choice(id="yes", title="Yes"),))
    offered = (await send(emulator, offer)).provider_message_id
    written = (await emulator.act(text="Hello"))["id"]
    await emulator.act(kind="reaction", target=offered, text="🙏")
    await emulator.act(kind="reaction", target=offered, text="")
    await emulator.act(kind="button_reply", target=offered, choice="yes")
    await emulator.act(kind="edit", target=written, text="Hello there")
    await emulator.act(kind="revoke", target=written)
    path = f"/sandbox/businesses/{NUMBER}/echoes"
    await emulator.client.post(path, json={"customer": PRIYA, "text": "A person here"})
    found = [routed.event for routed in await events(emulator, 7)]
    assert [type(event) for event in found] == [
        MessageReceived,
        ReactionChanged,
        ReactionChanged,
        MessageReceived,
        MessageEdited,
        MessageRevoked,
        MessageEchoed,
    ]
    assert [event.emoji for event in found if isinstance(event, ReactionChanged)] == ["🙏", None]
    assert [event.payload for event in found if isinstance(event, MessageReceived)] == [None, "yes"]
    assert {routed.external_account_id for routed in await events(emulator, 7)} == {NUMBER}


async def test_a_person_known_by_user_id_alone_is_answered_by_it(emulator: Emulated) -> None:
    await emulator.act(customer=FARAH, text="Hello")
    (event,) = [routed.event for routed in await events(emulator, 1)]
    assert isinstance(event, MessageReceived)
    await send(emulator, OutboundText(to=event.sender.identities[0], text="Hi", reply_to=event.provider_message_id))
    assert [message["text"] for message in await emulator.transcript(FARAH)] == ["Hello", "Hi"]


async def test_reading_and_typing_are_taken(emulator: Emulated) -> None:
    written = (await emulator.act(text="Hello"))["id"]
    assert (await send(emulator, ReadAndTyping(provider_message_id=written))).provider_message_id is None
    assert [message["tick"] for message in await emulator.transcript()] == ["read"]


@pytest.mark.parametrize(
    ("code", "status", "remedy"), [(130429, 429, "retry"), (131047, 400, "person"), (190, 401, "stop")]
)
async def test_an_error_on_demand_is_understood(emulator: Emulated, code: int, status: int, remedy: str) -> None:
    await emulator.client.put("/sandbox/faults", json={"kind": "error", "code": code, "http_status": status})
    with pytest.raises(ProviderRefused) as refused:
        await send(emulator, OutboundText(to=TO_PRIYA, text="Hello"))
    assert (refused.value.remedy, refused.value.provider_code) == (remedy, str(code))
