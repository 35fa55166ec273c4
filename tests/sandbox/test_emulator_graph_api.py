"""The Graph API of the emulator: what it takes, what it refuses and in which words."""

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.emulated import FARAH, NUMBER, OTHER_NUMBER, PRIYA, SEND, Emulated, emulated


@pytest.fixture
async def emulator() -> AsyncIterator[Emulated]:
    async with emulated() as running:
        yield running


def a_button(number: int, **changes: object) -> dict:
    return {"type": "reply", "reply": {"id": f"b{number}", "title": f"Button {number}", **changes}}


def buttons(*buttons: dict, **changes: object) -> dict:
    whole = {"type": "button", "body": {"text": "Choose"}, "action": {"buttons": list(buttons)}, **changes}
    return {"type": "interactive", "interactive": whole}


def a_list(*sections: dict, label: str = "Menu", **changes: object) -> dict:
    action = {"button": label, "sections": list(sections)}
    return {
        "type": "interactive",
        "interactive": {"type": "list", "body": {"text": "Choose"}, "action": action, **changes},
    }


def a_row(number: int, **changes: object) -> dict:
    return {"id": f"r{number}", "title": f"Row {number}", **changes}


async def test_a_text_is_answered_with_a_contact_and_a_message_id(emulator: Emulated) -> None:
    answer = await emulator.send(text="Hello", to="+91 98000-00001")
    assert answer.status_code == 200
    body = answer.json()
    assert body["messaging_product"] == "whatsapp"
    assert body["contacts"] == [{"input": "+91 98000-00001", "wa_id": PRIYA}]
    assert body["messages"][0]["id"].startswith("wamid.HBgMOTE5ODAwMDAwMDAxFQIAERgS")


async def test_a_person_without_a_number_is_reached_by_user_id(emulator: Emulated) -> None:
    body = {"messaging_product": "whatsapp", "recipient": FARAH, "type": "text", "text": {"body": "Hello"}}
    answer = await emulator.client.post(SEND, json=body)
    assert answer.json()["contacts"] == [{"input": FARAH, "user_id": FARAH}]
    assert [message["text"] for message in await emulator.transcript(FARAH)] == ["Hello"]


async def test_the_number_wins_where_both_are_given(emulator: Emulated) -> None:
    answer = await emulator.send(text="Hello", recipient=FARAH)
    assert answer.json()["contacts"] == [{"input": PRIYA, "wa_id": PRIYA}]


@pytest.mark.parametrize("header", [{}, {"authorization": "Bearer nobody"}, {"authorization": "Basic EAAtoken"}])
async def test_an_unknown_token_is_refused_with_code_190(emulator: Emulated, header: dict[str, str]) -> None:
    emulator.client.headers.pop("authorization")
    answer = await emulator.client.post(SEND, json={}, headers=header)
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["code"] == 190
    assert error["type"] == "OAuthException"
    assert error["fbtrace_id"].startswith("A")


@pytest.mark.parametrize("number", [OTHER_NUMBER, "999"])
async def test_a_number_that_is_not_the_tokens_does_not_exist(emulator: Emulated, number: str) -> None:
    answer = await emulator.client.post(f"/v26.0/{number}/messages", json={})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["error_subcode"]) == (400, 100, 33)
    assert error["message"].startswith(f"Unsupported post request. Object with ID '{number}' does not exist")


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"messaging_product": "sms", "text": "x"}, 100, "messaging_product must be one of {WHATSAPP}"),
        ({"type": "poll", "poll": {}}, 100, "Param type must be one of {AUDIO,"),
        ({"to": None, "text": "x"}, 100, "The parameter to is required"),
        ({"to": "not a number", "text": "x"}, 131009, "is not a phone number"),
        ({"to": None, "recipient": "abc", "text": "x"}, 131009, "is not a business-scoped user ID"),
        ({"recipient_type": "group", "text": "x"}, 100, "recipient_type must be one of {INDIVIDUAL}"),
        ({"text": ""}, 100, "The parameter text['body'] is required"),
        ({"text": "x" * 4097}, 100, "Param text['body'] must be at most 4096 characters long"),
        ({"type": "text"}, 100, "The parameter text is required"),
        ({"text": "x", "context": {"message_id": "abc"}}, 131009, "is not a message id"),
        ({"text": "x", "context": {}}, 100, "context['message_id'] is required"),
        ({"text": "x", "biz_opaque_callback_data": "y" * 513}, 100, "must be at most 512 characters long"),
        ({"text": "x", "biz_opaque_callback_data": 5}, 100, "biz_opaque_callback_data must be a string"),
        (buttons(), 100, "interactive['action']['buttons'] is required"),
        (buttons(*[a_button(n) for n in range(4)]), 131009, "Max allowed buttons: 3"),
        (buttons(a_button(1, title="t" * 21)), 131009, "Button title length invalid. Min length: 1, Max length: 20"),
        (buttons(a_button(1, title="")), 100, "['reply']['title'] is required"),
        (buttons(a_button(1), a_button(1)), 131009, "Duplicated button id: b1"),
        (buttons(a_button(1), body={"text": "b" * 1025}), 100, "must be at most 1024 characters long"),
        (buttons(a_button(1), footer={"text": "f" * 61}), 100, "must be at most 60 characters long"),
        (buttons(a_button(1), header={"type": "image"}), 100, "['header']['type'] must be one of {TEXT}"),
        (a_list({"rows": [a_row(1)]}, body={"text": "b" * 4097}), 100, "must be at most 4096 characters long"),
        (a_list({"rows": []}), 100, "rows'] is required"),
        (a_list({"rows": [a_row(n) for n in range(11)]}), 131009, "Total row count exceed max allowed count: 10"),
        (a_list({"rows": [a_row(1), a_row(1)]}), 131009, "Duplicated row id: r1"),
        (
            a_list({"rows": [a_row(1, title="t" * 25)]}),
            131009,
            "Row title length invalid. Min length: 1, Max length: 24",
        ),
        (a_list({"rows": [a_row(1, description="d" * 73)]}), 100, "must be at most 72 characters long"),
        (a_list({"rows": [a_row(1)]}, label="l" * 21), 100, "['action']['button'] must be at most 20 characters long"),
        (a_list({"rows": [a_row(1)]}, {"rows": [a_row(2)]}), 100, "sections'][0]['title'] is required"),
        ({"type": "image", "image": {}}, 131009, "exactly one of id and link is required"),
        ({"type": "image", "image": {"id": "5"}}, 131053, "was not uploaded or has expired"),
        ({"type": "audio", "audio": {"link": "https://x/a.ogg", "caption": "c"}}, 131009, "a caption is not allowed"),
        ({"type": "template", "template": {"name": "hello"}}, 100, "template['language']['code'] is required"),
        ({"status": "delivered", "message_id": "wamid.x"}, 100, "status must be one of {READ}"),
        ({"status": "read"}, 100, "message_id is required"),
        ({"status": "read", "message_id": "wamid.x", "typing_indicator": {"type": "audio"}}, 100, "{TEXT}"),
    ],
)
async def test_what_meta_refuses_is_refused_in_its_words(
    emulator: Emulated, message: dict, code: int, words: str
) -> None:
    answer = await emulator.send(**message)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert words in error["message"] + str(error.get("error_data", {}).get("details"))
    assert error["type"] == "OAuthException"
    assert (await emulator.client.get("/sandbox/sent")).json()["total"] == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
async def test_a_body_that_is_no_json_object_is_refused(emulator: Emulated, body: bytes) -> None:
    answer = await emulator.client.post(SEND, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)


async def test_a_message_without_its_product_is_refused(emulator: Emulated) -> None:
    answer = await emulator.client.post(SEND, json={"to": PRIYA, "type": "text", "text": {"body": "x"}})
    assert answer.json()["error"]["message"] == "(#100) The parameter messaging_product is required."


@pytest.mark.parametrize(
    "message",
    [
        {"text": "x" * 4096, "biz_opaque_callback_data": "y" * 512},
        buttons(*[a_button(n, title="t" * 20) for n in range(3)], header={"type": "text", "text": "h"}),
        a_list({"title": "One", "rows": [a_row(1, description="d" * 72)]}, {"title": "Two", "rows": [a_row(2)]}),
        {"type": "document", "document": {"link": "https://asha.test/a.pdf", "caption": "c", "filename": "a.pdf"}},
        {"type": "template", "template": {"name": "receipt_ready", "language": {"code": "en"}}},
        {"type": "reaction", "reaction": {"message_id": "wamid.unknown", "emoji": "👍"}},
    ],
)
async def test_what_stays_inside_the_limits_is_taken(emulator: Emulated, message: dict) -> None:
    answer = await emulator.send(**message)
    assert answer.status_code == 200, answer.text


async def test_a_reading_mark_colours_every_earlier_message(emulator: Emulated) -> None:
    await emulator.act(text="one")
    second = await emulator.act(text="two")
    mark = {"status": "read", "message_id": second["id"], "typing_indicator": {"type": "text"}}
    answer = await emulator.client.post(SEND, json={"messaging_product": "whatsapp", **mark})
    assert answer.json() == {"success": True}
    assert [message["tick"] for message in await emulator.transcript()] == ["read", "read"]


async def test_the_number_answers_for_itself(emulator: Emulated) -> None:
    answer = await emulator.client.get(f"/v26.0/{NUMBER}")
    assert answer.json()["display_phone_number"] == "918041234567"
    assert (await emulator.client.get(f"/v26.0/{OTHER_NUMBER}")).json()["error"]["error_subcode"] == 33


async def test_an_unknown_path_is_refused_as_graph_does(emulator: Emulated) -> None:
    for answer in (await emulator.client.get("/v26.0/a/b/c"), await emulator.client.get("/nothing/there")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 2500)


async def test_what_was_sent_is_listed_with_its_correlation(emulator: Emulated) -> None:
    await emulator.send(text="one", biz_opaque_callback_data="effect-1")
    await emulator.send(text="two", biz_opaque_callback_data="effect-2")
    page = (await emulator.client.get("/sandbox/sent", params={"limit": 1})).json()
    assert page["total"] == 2
    assert [one["text"] for one in page["items"]] == ["one"]
    rest = (await emulator.client.get("/sandbox/sent", params={"after": page["items"][0]["number"]})).json()["items"]
    assert [(one["correlation"], one["customer"], one["business"]) for one in rest] == [
        ("effect-2", PRIYA, "Asha Foundation")
    ]
    assert rest[0]["accepted_monotonic_ns"] > page["items"][0]["accepted_monotonic_ns"]
    one = (await emulator.client.get("/sandbox/sent", params={"correlation": "effect-1"})).json()["items"]
    assert [sent["answered"] for sent in one] == [True]
