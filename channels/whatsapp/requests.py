"""What we post to WhatsApp: one outbound message as a request body, refused here where WhatsApp cannot carry it.

Limits: developers.facebook.com/documentation/business-messaging/whatsapp/messages (text, interactive reply buttons,
interactive list). Lengths are counted in characters.
"""

from typing import Final

from pydantic import JsonValue

from channels.events import Identity
from channels.messages import Choice, OutboundButtons, OutboundList, OutboundText, ReadAndTyping
from core.errors import ProviderRefused

TEXT_LENGTH_MAX: Final = 4096
BUTTONS_TEXT_LENGTH_MAX: Final = 1024
LIST_TEXT_LENGTH_MAX: Final = 4096
BUTTONS_MAX: Final = 3
BUTTON_TITLE_LENGTH_MAX: Final = 20
BUTTON_ID_LENGTH_MAX: Final = 256
LIST_ROWS_MAX: Final = 10
LIST_OPEN_LABEL_LENGTH_MAX: Final = 20
ROW_TITLE_LENGTH_MAX: Final = 24
ROW_DESCRIPTION_LENGTH_MAX: Final = 72
ROW_ID_LENGTH_MAX: Final = 200
CORRELATION_LENGTH_MAX: Final = 512


def request_body(message: OutboundText | OutboundButtons | OutboundList, correlation: str) -> dict[str, JsonValue]:
    """The body that sends a message.

    Raises:
        ProviderRefused: WhatsApp cannot carry it; the message names the limit.
    """
    _at_most("the correlation", correlation, CORRELATION_LENGTH_MAX)
    body: dict[str, JsonValue] = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **_recipient(message.to),
        **_content(message),
        "biz_opaque_callback_data": correlation,
    }
    if message.reply_to is not None:
        body["context"] = {"message_id": message.reply_to}
    return body


def read_and_typing(message: ReadAndTyping) -> dict[str, JsonValue]:
    """The body that marks a message as read and shows the typing sign, which ends after 25 seconds or on a send."""
    return {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": message.provider_message_id,
        "typing_indicator": {"type": "text"},
    }


def _recipient(to: Identity) -> dict[str, JsonValue]:
    match to.kind:
        case "wa_id" | "phone":
            return {"to": to.value}
        case "bsuid":
            return {"recipient": to.value}
        case _:
            raise _cannot_carry(f"WhatsApp cannot write to an identity of kind {to.kind!r}: it takes wa_id and bsuid")


def _content(message: OutboundText | OutboundButtons | OutboundList) -> dict[str, JsonValue]:
    match message:
        case OutboundText():
            _at_most("the text", message.text, TEXT_LENGTH_MAX)
            return {"type": "text", "text": {"body": message.text}}
        case OutboundButtons():
            return {"type": "interactive", "interactive": _buttons(message)}
        case OutboundList():
            return {"type": "interactive", "interactive": _list(message)}


def _buttons(message: OutboundButtons) -> dict[str, JsonValue]:
    _at_most("the text above buttons", message.text, BUTTONS_TEXT_LENGTH_MAX)
    _few_enough("buttons", message.buttons, BUTTONS_MAX)
    for button in message.buttons:
        _at_most("a button's title", button.title, BUTTON_TITLE_LENGTH_MAX)
        _at_most("a button's id", button.id, BUTTON_ID_LENGTH_MAX)
    return {
        "type": "button",
        "body": {"text": message.text},
        "action": {
            "buttons": [{"type": "reply", "reply": {"id": one.id, "title": one.title}} for one in message.buttons]
        },
    }


def _list(message: OutboundList) -> dict[str, JsonValue]:
    _at_most("the text above a list", message.text, LIST_TEXT_LENGTH_MAX)
    _at_most("the label that opens the list", message.open_label, LIST_OPEN_LABEL_LENGTH_MAX)
    _few_enough("rows", message.rows, LIST_ROWS_MAX)
    return {
        "type": "list",
        "body": {"text": message.text},
        "action": {"button": message.open_label, "sections": [{"rows": [_row(row) for row in message.rows]}]},
    }


def _row(row: Choice) -> dict[str, JsonValue]:
    _at_most("a row's title", row.title, ROW_TITLE_LENGTH_MAX)
    _at_most("a row's id", row.id, ROW_ID_LENGTH_MAX)
    wire: dict[str, JsonValue] = {"id": row.id, "title": row.title}
    if row.description:
        _at_most("a row's description", row.description, ROW_DESCRIPTION_LENGTH_MAX)
        wire["description"] = row.description
    return wire


def _at_most(what: str, text: str, length_max: int) -> None:
    if len(text) > length_max:
        raise _cannot_carry(f"{what} has {len(text)} characters; WhatsApp takes at most {length_max}: shorten it")


def _few_enough(what: str, choices: tuple[Choice, ...], count_max: int) -> None:
    if len(choices) > count_max:
        raise _cannot_carry(f"{len(choices)} {what}; WhatsApp takes at most {count_max}: offer fewer")


def _cannot_carry(sentence: str) -> ProviderRefused:
    return ProviderRefused(sentence, remedy="person", provider_code="limit")
