"""What a person sees: messages through the emulator's phone into a whole running stack, and what comes back."""

import asyncio
import hashlib
import hmac
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bench.running_stack import RunningStack
from bench.whatsapp_bodies import signed_text
from tests.builders import a_body, a_change, a_number, a_text
from tests.eventually import eventually

#: Longer than any debounce, so that a reply that should not come has had its time.
QUIET_S = 2.5


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10) as opened:
        yield opened


async def write(client: httpx.AsyncClient, product: RunningStack, sender: str, *texts: str) -> None:
    """Post these texts one after another, as Meta would."""
    facts = product.facts()
    for text in texts:
        body, headers = signed_text(
            text,
            sender=sender,
            phone_number_id=facts["accounts"]["whatsapp"]["phone_number_id"],
            app_secret=facts["meta_app"]["app_secret"],
        )
        answer = await client.post(facts["accounts"]["whatsapp"]["webhook_url"], content=body, headers=headers)
        assert answer.status_code == httpx.codes.OK


async def sent_to(client: httpx.AsyncClient, product: RunningStack, customer: str) -> list[str]:
    url = f"{product.facts()['sandbox_url']}/sandbox/sent"
    items = (await client.get(url, params={"customer": customer, "limit": 100})).json()["items"]
    return [item["text"] for item in items]


async def the_only_reply(client: httpx.AsyncClient, product: RunningStack, customer: str) -> str:
    async def replied() -> bool:
        return bool(await sent_to(client, product, customer))

    await eventually(replied)
    await asyncio.sleep(QUIET_S)
    (reply,) = await sent_to(client, product, customer)
    return reply


async def messages_of(
    client: httpx.AsyncClient, product: RunningStack, organisation: str, sender: str
) -> list[dict[str, Any]]:
    facts = product.facts()
    headers = {"authorization": f"Bearer {facts['organisations'][organisation]['api_key']}"}
    found = await client.get(f"{facts['base_url']}/v1/conversations", params={"q": sender}, headers=headers)
    messages: list[dict[str, Any]] = []
    for conversation in found.json()["items"]:
        url = f"{facts['base_url']}/v1/conversations/{conversation['id']}/messages"
        messages += (await client.get(url, params={"limit": 100}, headers=headers)).json()["items"]
    return messages


async def test_a_question_is_answered_with_the_articles_words_and_its_title(
    client: httpx.AsyncClient, product: RunningStack
) -> None:
    sender = a_number()
    await write(client, product, sender, "Can I get a tax receipt for my donation?")
    reply = await the_only_reply(client, product, sender)
    assert "gets a tax receipt under section 80G" in reply
    assert "Source: Tax receipts for donations (80G)" in reply
    inbound, outbound = sorted(await messages_of(client, product, "asha", sender), key=lambda m: m["direction"])
    assert (inbound["text"], inbound["status"]) == ("Can I get a tax receipt for my donation?", "received")
    assert (outbound["text"], outbound["author"]) == (reply, "agent")
    assert outbound["citations"][0]["title"] == "Tax receipts for donations (80G)"

    async def ticks() -> bool:
        (message,) = [m for m in await messages_of(client, product, "asha", sender) if m["direction"] == "outbound"]
        return message["status"] == "read"

    await eventually(ticks)


async def test_what_nobody_wrote_about_is_handed_to_a_person_once(
    client: httpx.AsyncClient, product: RunningStack
) -> None:
    sender = a_number()
    await write(client, product, sender, "What is the meaning of life?")
    reply = await the_only_reply(client, product, sender)
    assert "a person will reply to you here" in reply
    await write(client, product, sender, "No, tell me the meaning of life")
    await asyncio.sleep(QUIET_S)
    assert await sent_to(client, product, sender) == [reply]


async def test_five_fast_messages_get_one_reply_that_covers_them(
    client: httpx.AsyncClient, product: RunningStack
) -> None:
    sender = a_number()
    texts = ("Hello", "I gave money", "can I get a tax receipt for my donation?", "how can I volunteer?", "thanks")
    await write(client, product, sender, *texts)
    reply = await the_only_reply(client, product, sender)
    assert "Source: Tax receipts for donations (80G)" in reply
    assert "Source: How to become a volunteer" in reply


async def test_one_post_for_two_tenants_gives_twelve_messages_however_often_it_comes(
    client: httpx.AsyncClient, product: RunningStack
) -> None:
    facts = product.facts()
    sender, now = a_number(), int(time.time())
    changes = {
        slug: [
            a_change(
                organisation["accounts"]["whatsapp"]["phone_number_id"],
                messages=[
                    a_text(
                        f"{slug} {part}.{n}: what is the meaning of life?", sender=sender, timestamp=now + 10 * part + n
                    )
                    for n in range(3)
                ],
            )
            for part in range(2)
        ]
        for slug, organisation in facts["organisations"].items()
    }
    both = a_body(changes["asha"], changes["nagar"])
    mixed = [change for of_one in changes.values() for change in of_one]
    posts = ([both] * 12 + [a_body([change]) for change in mixed] + [a_body(mixed)] * 4)[:20]
    random.Random(3).shuffle(posts)

    async def post(body: bytes) -> int:
        signature = hmac.new(facts["meta_app"]["app_secret"].encode(), body, hashlib.sha256).hexdigest()
        headers = {"x-hub-signature-256": f"sha256={signature}"}
        return (await client.post(facts["meta_app"]["webhook_url"], content=body, headers=headers)).status_code

    assert set(await asyncio.gather(*(post(body) for body in posts))) == {200}
    for slug in ("asha", "nagar"):

        async def six(slug: str = slug) -> bool:
            found = await messages_of(client, product, slug, sender)
            return len([m for m in found if m["direction"] == "inbound"]) == 6

        await eventually(six)
    await asyncio.sleep(QUIET_S)
    for slug in ("asha", "nagar"):
        messages = await messages_of(client, product, slug, sender)
        inbound = sorted((m for m in messages if m["direction"] == "inbound"), key=lambda m: m["provider_ts"])
        assert [m["text"].split(":")[0] for m in inbound] == [f"{slug} {p}.{n}" for p in range(2) for n in range(3)]
        assert len([m for m in messages if m["direction"] == "outbound"]) == 1
    assert len(await sent_to(client, product, sender)) == 2


async def test_a_persons_answer_in_the_organisations_own_app_silences_the_agent(
    client: httpx.AsyncClient, product: RunningStack
) -> None:
    facts = product.facts()
    customer = next(c for c in (await client.get(f"{facts['sandbox_url']}/sandbox/state")).json()["customers"])
    number = facts["accounts"]["whatsapp"]["phone_number_id"]
    url = f"{facts['sandbox_url']}/sandbox/businesses/{number}/echoes"
    (
        await client.post(url, json={"customer": customer["id"], "text": "Meera here, how can I help?"})
    ).raise_for_status()

    async def seen() -> bool:
        return any(m["author"] == "human" for m in await messages_of(client, product, "asha", customer["id"]))

    await eventually(seen)
    await write(client, product, customer["id"], "Can I get a tax receipt for my donation?")
    await asyncio.sleep(QUIET_S)
    assert await sent_to(client, product, customer["id"]) == []


async def test_the_handshake_answers_the_challenge(client: httpx.AsyncClient, product: RunningStack) -> None:
    facts = product.facts()
    for number in (facts["accounts"]["whatsapp"]["phone_number_id"],):
        answer = await client.post(f"{facts['sandbox_url']}/sandbox/businesses/{number}/subscribe")
        assert answer.json()["subscribed"], answer.text


async def test_the_steps_of_a_run_can_be_read(client: httpx.AsyncClient, product: RunningStack) -> None:
    sender = a_number()
    await write(client, product, sender, "how can I volunteer?")
    await the_only_reply(client, product, sender)
    facts = product.facts()
    headers = {"x-api-key": facts["api_key"]}
    (reply,) = [m for m in await messages_of(client, product, "asha", sender) if m["direction"] == "outbound"]
    steps = (await client.get(f"{facts['base_url']}/v1/runs/{reply['run_id']}/steps", headers=headers)).json()["items"]
    assert [step["node"] for step in steps if not step["namespace"]] == ["recall", "triage", "reply", "guard", "emit"]
    other = {"x-api-key": facts["organisations"]["nagar"]["api_key"]}
    foreign = await client.get(f"{facts['base_url']}/v1/runs/{reply['run_id']}/steps", headers=other)
    assert foreign.status_code == httpx.codes.NOT_FOUND
    assert json.loads(foreign.content)["status"] == httpx.codes.NOT_FOUND
