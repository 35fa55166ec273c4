import pytest

from channels.events import Identity
from channels.messages import Choice, OutboundButtons, OutboundList, OutboundMessage, OutboundText, ReadAndTyping
from channels.whatsapp.requests import read_and_typing, request_body
from core.errors import ProviderRefused

ASHA = Identity(kind="wa_id", value="919845012345")
MEERA = Identity(kind="bsuid", value="IN.13491208655302741918")
KEY = "t_01k9:run_01k9:reply/0"


def choices(count: int, *, title: str = "t", id_: str = "", description: str | None = None) -> tuple[Choice, ...]:
    """So many choices, all alike but for their ids."""
    return tuple(Choice(id=id_ or f"c{i}", title=title, description=description) for i in range(count))


def a_list(**changes: object) -> OutboundList:
    """A list within every limit, with some of it changed."""
    fields: dict[str, object] = {"to": ASHA, "text": "Which city?", "open_label": "Cities", "rows": choices(2)}
    return OutboundList.model_validate(fields | changes)


def some_buttons(**changes: object) -> OutboundButtons:
    """Buttons within every limit, with some of it changed."""
    fields: dict[str, object] = {"to": ASHA, "text": "Which year?", "buttons": choices(2)}
    return OutboundButtons.model_validate(fields | changes)


def test_a_text_carries_our_key() -> None:
    assert request_body(OutboundText(to=ASHA, text="नमस्ते"), KEY) == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "919845012345",
        "type": "text",
        "text": {"body": "नमस्ते"},
        "biz_opaque_callback_data": KEY,
    }


def test_a_person_known_by_user_id_is_the_recipient() -> None:
    body = request_body(OutboundText(to=MEERA, text="hello"), KEY)
    assert body["recipient"] == "IN.13491208655302741918"
    assert "to" not in body


def test_a_phone_number_is_written_to_as_it_is() -> None:
    assert request_body(OutboundText(to=Identity(kind="phone", value="+919845012345"), text="x"), KEY)["to"] == (
        "+919845012345"
    )


def test_an_answer_names_the_message_it_answers() -> None:
    body = request_body(OutboundText(to=ASHA, text="yes", reply_to="wamid.A"), KEY)
    assert body["context"] == {"message_id": "wamid.A"}


def test_buttons_are_an_interactive_message() -> None:
    message = some_buttons(buttons=(Choice(id="y1", title="FY 2024-25"), Choice(id="y2", title="FY 2025-26")))
    body = request_body(message, KEY)
    assert (body["type"], body["interactive"]) == (
        "interactive",
        {
            "type": "button",
            "body": {"text": "Which year?"},
            "action": {
                "buttons": [
                    {"type": "reply", "reply": {"id": "y1", "title": "FY 2024-25"}},
                    {"type": "reply", "reply": {"id": "y2", "title": "FY 2025-26"}},
                ]
            },
        },
    )


def test_a_list_is_an_interactive_message_of_one_section() -> None:
    rows = (Choice(id="chennai", title="Chennai", description="Open 9 to 6"), Choice(id="pune", title="Pune"))
    assert request_body(a_list(rows=rows), KEY)["interactive"] == {
        "type": "list",
        "body": {"text": "Which city?"},
        "action": {
            "button": "Cities",
            "sections": [
                {
                    "rows": [
                        {"id": "chennai", "title": "Chennai", "description": "Open 9 to 6"},
                        {"id": "pune", "title": "Pune"},
                    ]
                }
            ],
        },
    }


def test_reading_and_typing_are_one_call() -> None:
    assert read_and_typing(ReadAndTyping(provider_message_id="wamid.A")) == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "wamid.A",
        "typing_indicator": {"type": "text"},
    }


@pytest.mark.parametrize(
    "message",
    [
        OutboundText(to=ASHA, text="क" * 4096),
        some_buttons(text="x" * 1024, buttons=choices(3, title="t" * 20)),
        some_buttons(buttons=choices(1, id_="i" * 256)),
        a_list(text="x" * 4096, open_label="o" * 20, rows=choices(10, title="t" * 24, description="d" * 72)),
        a_list(rows=choices(1, id_="i" * 200)),
    ],
)
def test_what_just_fits_is_carried(message: OutboundText | OutboundButtons | OutboundList) -> None:
    assert request_body(message, "k" * 512)["to"] == ASHA.value


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (OutboundText(to=ASHA, text="x" * 4097), "the text has 4097 characters; WhatsApp takes at most 4096"),
        (some_buttons(text="x" * 1025), "the text above buttons has 1025 .* at most 1024"),
        (some_buttons(buttons=choices(4)), "4 buttons; WhatsApp takes at most 3"),
        (some_buttons(buttons=choices(1, title="t" * 21)), "a button's title has 21 .* at most 20"),
        (a_list(text="x" * 4097), "the text above a list has 4097 .* at most 4096"),
        (a_list(open_label="o" * 21), "the label that opens the list has 21 .* at most 20"),
        (a_list(rows=choices(11)), "11 rows; WhatsApp takes at most 10"),
        (a_list(rows=choices(1, title="t" * 25)), "a row's title has 25 .* at most 24"),
        (a_list(rows=choices(1, description="d" * 73)), "a row's description has 73 .* at most 72"),
        (a_list(rows=choices(1, id_="i" * 201)), "a row's id has 201 .* at most 200"),
        (OutboundText(to=Identity(kind="email", value="a@b.in"), text="x"), "identity of kind 'email'"),
    ],
)
def test_what_cannot_be_carried_is_refused_and_names_the_limit(message: OutboundMessage, sentence: str) -> None:
    assert not isinstance(message, ReadAndTyping)
    with pytest.raises(ProviderRefused, match=sentence) as refused:
        request_body(message, KEY)
    assert (refused.value.remedy, refused.value.provider_code) == ("person", "limit")


def test_a_key_that_would_not_come_back_whole_is_refused() -> None:
    with pytest.raises(ProviderRefused, match="the correlation has 513 characters"):
        request_body(OutboundText(to=ASHA, text="x"), "k" * 513)
