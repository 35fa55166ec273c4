"""What a customer does on the phone, as the business's system is told of it."""

import base64
import hashlib
from collections.abc import AsyncIterator

import pytest

from tests.sandbox.emulated import NUMBER, OTHER_NUMBER, PRIYA, Emulated, emulated

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CUSTOMER_PATH = f"/sandbox/customers/{PRIYA}/messages"


@pytest.fixture
async def emulator() -> AsyncIterator[Emulated]:
    async with emulated(statuses={"enabled": False}) as running:
        yield running


async def last_message(emulator: Emulated, count: int) -> dict:
    received = await emulator.product.until(lambda all_: len(all_) == count)
    return received[-1].value()["messages"][0]


async def upload(emulator: Emulated, kind: str, name: str, mime: str, body: bytes, **fields: str) -> dict:
    files = {"file": (name, body, mime)}
    answer = await emulator.client.post(CUSTOMER_PATH, data={"business": NUMBER, "kind": kind, **fields}, files=files)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_reply_names_the_message_it_answers(emulator: Emulated) -> None:
    answered = (await emulator.send(text="How may I help?")).json()["messages"][0]["id"]
    await emulator.act(text="With a receipt", reply_to=answered)
    message = await last_message(emulator, 1)
    assert message["context"] == {"from": "918041234567", "id": answered}


async def test_a_reaction_and_its_removal_name_the_message(emulator: Emulated) -> None:
    target = (await emulator.send(text="Thank you")).json()["messages"][0]["id"]
    await emulator.act(kind="reaction", target=target, text="🙏")
    assert (await last_message(emulator, 1))["reaction"] == {"message_id": target, "emoji": "🙏"}
    assert (await emulator.transcript())[0]["reactions"] == {"customer": "🙏"}
    await emulator.act(kind="reaction", target=target, text="")
    assert (await last_message(emulator, 2))["reaction"] == {"message_id": target, "emoji": ""}
    assert (await emulator.transcript())[0]["reactions"] == {}


async def test_a_chosen_button_comes_back_with_its_id_and_title(emulator: Emulated) -> None:
    button = {"type": "reply", "reply": {"id": "yes", "title": "Yes, please"}}
    interactive = {"type": "button", "body": {"text": "Monthly?"}, "action": {"buttons": [button]}}
    offer = (await emulator.send(type="interactive", interactive=interactive)).json()["messages"][0]["id"]
    await emulator.act(kind="button_reply", target=offer, choice="yes")
    message = await last_message(emulator, 1)
    assert message["type"] == "interactive"
    assert message["interactive"] == {"type": "button_reply", "button_reply": {"id": "yes", "title": "Yes, please"}}
    assert message["context"]["id"] == offer


async def test_a_chosen_row_comes_back_with_its_description(emulator: Emulated) -> None:
    rows = [{"id": "pune", "title": "Pune", "description": "Near the river"}]
    action = {"button": "Cities", "sections": [{"rows": rows}]}
    interactive = {"type": "list", "body": {"text": "Where?"}, "action": action}
    offer = (await emulator.send(type="interactive", interactive=interactive)).json()["messages"][0]["id"]
    await emulator.act(kind="list_reply", target=offer, choice="pune")
    assert (await last_message(emulator, 1))["interactive"]["list_reply"] == rows[0]


async def test_a_choice_that_was_not_offered_is_refused(emulator: Emulated) -> None:
    offer = (await emulator.send(text="Just words")).json()["messages"][0]["id"]
    body = {"business": NUMBER, "kind": "button_reply", "target": offer, "choice": "yes"}
    answer = await emulator.client.post(CUSTOMER_PATH, json=body)
    assert answer.status_code == 400
    assert "is not offered" in answer.json()["detail"]


async def test_an_edit_and_a_revoke_have_ids_of_their_own(emulator: Emulated) -> None:
    original = (await emulator.act(text="Helo"))["id"]
    edit = (await emulator.act(kind="edit", target=original, text="Hello"))["id"]
    message = await last_message(emulator, 2)
    assert message["id"] == edit != original
    assert message["edit"] == {
        "original_message_id": original,
        "message": {"type": "text", "text": {"body": "Hello"}},
    }
    await emulator.act(kind="revoke", target=original)
    assert (await last_message(emulator, 3))["revoke"] == {"original_message_id": original}
    (shown,) = await emulator.transcript()
    assert (shown["deleted"], shown["edited"], shown["text"]) == (True, True, None)


async def test_a_customer_cannot_change_what_the_business_said(emulator: Emulated) -> None:
    target = (await emulator.send(text="Hello")).json()["messages"][0]["id"]
    for kind, text in (("edit", "Bye"), ("revoke", "")):
        body = {"business": NUMBER, "kind": kind, "target": target, "text": text}
        assert (await emulator.client.post(CUSTOMER_PATH, json=body)).status_code == 409


async def test_an_attachment_is_fetched_by_reference_and_url(emulator: Emulated) -> None:
    await upload(emulator, "image", "../dot.png", "image/png", PNG, text="My receipt")
    image = (await last_message(emulator, 1))["image"]
    assert image["caption"] == "My receipt"
    assert image["sha256"] == base64.b64encode(hashlib.sha256(PNG).digest()).decode()
    reference = (await emulator.client.get(f"/v26.0/{image['id']}")).json()
    assert reference["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert (reference["mime_type"], reference["file_size"]) == ("image/png", len(PNG))
    answer = await emulator.client.get(reference["url"])
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")


async def test_media_stays_closed_without_the_token_and_the_whole_url(emulator: Emulated) -> None:
    await upload(emulator, "document", "a.pdf", "application/pdf", b"%PDF-1.7")
    document = (await last_message(emulator, 1))["document"]
    assert document["filename"] == "a.pdf"
    url = (await emulator.client.get(f"/v26.0/{document['id']}")).json()["url"]
    other = {"authorization": "Bearer EAAother"}
    assert (await emulator.client.get(url, headers=other)).status_code == 404
    assert (await emulator.client.get(url + "0")).status_code == 404
    assert (await emulator.client.get(f"/v26.0/{document['id']}", headers=other)).json()["error"]["code"] == 100


async def test_a_strangers_page_is_never_served_as_a_page(emulator: Emulated) -> None:
    await upload(emulator, "document", "a.html", "text/html", b"<script>alert(1)</script>")
    document = (await last_message(emulator, 1))["document"]
    answer = await emulator.client.get(f"/sandbox/media/{document['id']}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_a_business_can_upload_a_file_and_send_it(emulator: Emulated) -> None:
    files = {"file": ("receipt.pdf", b"%PDF-1.7", "application/pdf")}
    uploaded = await emulator.client.post(f"/v26.0/{NUMBER}/media", data={"messaging_product": "whatsapp"}, files=files)
    document = {"id": uploaded.json()["id"], "filename": "80G.pdf", "caption": "Your receipt"}
    assert (await emulator.send(type="document", document=document)).status_code == 200
    (shown,) = await emulator.transcript()
    assert (shown["text"], shown["attachment"]["name"]) == ("Your receipt", "80G.pdf")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"kind": "text", "text": " "}, 400, "needs `text`"),
        ({"kind": "edit", "text": "x"}, 400, "needs `target`"),
        ({"kind": "image"}, 400, "needs a file"),
        ({"kind": "dance", "text": "x"}, 400, "kind"),
        ({"text": "x", "colour": "red"}, 400, "colour"),
        ({"text": "x", "reply_to": "wamid.none"}, 404, "no message"),
        ({"text": "x", "business": "1"}, 404, "no business has phone_number_id '1'"),
    ],
)
async def test_what_a_customer_cannot_do_is_named(emulator: Emulated, fields: dict, status: int, words: str) -> None:
    answer = await emulator.client.post(CUSTOMER_PATH, json={"business": NUMBER, **fields})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert await emulator.transcript() == []


async def test_an_image_over_the_limit_is_refused_before_it_is_shown(emulator: Emulated) -> None:
    files = {"file": ("big.png", b"\0" * (5 * 1024 * 1024 + 1), "image/png")}
    answer = await emulator.client.post(CUSTOMER_PATH, data={"business": NUMBER, "kind": "image"}, files=files)
    assert answer.status_code == 413
    assert await emulator.transcript() == []


async def test_a_message_of_another_chat_cannot_be_quoted(emulator: Emulated) -> None:
    first = (await emulator.act(text="Hello"))["id"]
    body = {"business": OTHER_NUMBER, "text": "Hello", "reply_to": first}
    assert (await emulator.client.post(CUSTOMER_PATH, json=body)).status_code == 404


async def test_the_state_tells_no_secret(emulator: Emulated) -> None:
    state = await emulator.client.get("/sandbox/state", params={"customer": PRIYA, "business": NUMBER})
    for secret in ("EAAtoken", "app-secret", "verify-me", "webhook"):
        assert secret not in state.text
    assert [one["name"] for one in state.json()["businesses"]] == ["Asha Foundation", "Nagar Motors"]
    assert state.json()["customers"][2]["talks_to"] == [OTHER_NUMBER, NUMBER]


async def test_starting_over_forgets_what_was_said_and_keeps_who_there_is(emulator: Emulated) -> None:
    await emulator.send(text="Hello")
    await emulator.client.put("/sandbox/faults", json={"kind": "http_500"})
    await emulator.client.delete("/sandbox/state")
    assert await emulator.transcript() == []
    assert (await emulator.client.get("/sandbox/sent")).json() == {"items": [], "total": 0}
    assert (await emulator.client.get("/sandbox/faults")).json() == {"items": []}
    assert len((await emulator.client.get("/sandbox/state")).json()["customers"]) == 3


async def test_a_page_of_another_origin_may_not_use_the_levers(emulator: Emulated) -> None:
    foreign = {"origin": "https://evil.test"}
    answer = await emulator.client.post(CUSTOMER_PATH, json={"business": NUMBER, "text": "x"}, headers=foreign)
    assert answer.status_code == 403
    own = {"origin": "http://graph.test"}
    answer = await emulator.client.post(CUSTOMER_PATH, json={"business": NUMBER, "text": "x"}, headers=own)
    assert answer.status_code == 200


async def test_the_page_comes_with_a_strict_policy(emulator: Emulated) -> None:
    for path in ("/", "/phone/phone.js", "/phone/phone.css"):
        answer = await emulator.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert (await emulator.client.get("/phone/..%2f__init__.py")).status_code in (400, 404)
