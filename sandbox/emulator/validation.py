"""The body of POST /{phone_number_id}/messages, checked as Meta checks it: JSON in, an `Outbound` out, or a GraphError.

Limits: developers.facebook.com/documentation/business-messaging/whatsapp/messages (text, interactive, media, template).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sandbox.emulator.graph_errors import GraphError, missing, not_valid, titled, too_long
from sandbox.emulator.interactive import Choice, interactive_content

TEXT_CHARS_MAX = 4096
CAPTION_CHARS_MAX = 1024
CALLBACK_DATA_CHARS_MAX = 512
MEDIA_KINDS = ("image", "audio", "video", "document", "sticker")
CAPTIONED_KINDS = frozenset({"image", "video", "document"})

_PHONE_PUNCTUATION = re.compile(r"[+\s().-]")
_PHONE = re.compile(r"\d{5,20}")
_BSUID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")
_WAMID = re.compile(r"wamid\.[A-Za-z0-9+/=_.:-]{1,512}")


@dataclass(frozen=True, slots=True)
class Content:
    """What a person sees of a message, whatever its type."""

    text: str | None = None
    header: str | None = None
    footer: str | None = None
    buttons: tuple[Choice, ...] = ()
    open_label: str | None = None
    rows: tuple[Choice, ...] = ()
    media_id: str | None = None
    media_link: str | None = None
    filename: str | None = None
    reaction_to: str | None = None


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a message is for: `given` as the request has it, and the number or the BSUID that it means."""

    given: str
    wa_id: str | None = None
    bsuid: str | None = None


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message that Meta would take."""

    recipient: Recipient
    kind: str
    content: Content
    reply_to: str | None = None
    correlation: str | None = None


@dataclass(frozen=True, slots=True)
class ReadMark:
    """The business has read a message, and may show that it is writing."""

    message_id: str
    typing: bool = field(default=False)


Json = dict[str, object]


def checked(body: object) -> Outbound | ReadMark:
    """Check one request body.

    Raises:
        GraphError: as Meta would refuse it.
    """
    if not isinstance(body, dict):
        raise GraphError("(#100) Invalid parameter", code=100, details="the body is not a JSON object")
    if "messaging_product" not in body:
        raise missing("messaging_product")
    if str(body["messaging_product"]).lower() != "whatsapp":
        raise GraphError("(#100) Param messaging_product must be one of {WHATSAPP}.", code=100)
    return _read_mark(body) if "status" in body else _message(body)


def _message(body: Json) -> Outbound:
    kind = body.get("type", "text")
    reader = _CONTENT.get(str(kind).lower())
    if reader is None:
        names = ", ".join(sorted(name.upper() for name in _CONTENT))
        raise GraphError(f"(#100) Param type must be one of {{{names}}}.", code=100)
    if str(body.get("recipient_type", "individual")).lower() != "individual":
        raise GraphError("(#100) Param recipient_type must be one of {INDIVIDUAL}.", code=100)
    correlation = body.get("biz_opaque_callback_data")
    if correlation is not None and not isinstance(correlation, str):
        raise GraphError("(#100) Param biz_opaque_callback_data must be a string.", code=100)
    if len(correlation or "") > CALLBACK_DATA_CHARS_MAX:
        raise too_long("biz_opaque_callback_data", CALLBACK_DATA_CHARS_MAX)
    name = str(kind).lower()
    return Outbound(
        recipient=_recipient(body),
        kind=name,
        content=reader(name, _object(body, name)),
        reply_to=_wamid(_object(body, "context"), "message_id", "context['message_id']") if "context" in body else None,
        correlation=correlation,
    )


def _recipient(body: Json) -> Recipient:
    """`to` is a phone number, `recipient` a BSUID; where both are given, `to` wins."""
    to, recipient = body.get("to"), body.get("recipient")
    if to is not None:
        digits = _PHONE_PUNCTUATION.sub("", str(to))
        if not _PHONE.fullmatch(digits):
            raise not_valid(f"to: {str(to)[:64]!r} is not a phone number")
        return Recipient(str(to), wa_id=digits)
    if recipient is None:
        raise missing("to")
    if not isinstance(recipient, str) or not _BSUID.fullmatch(recipient):
        raise not_valid(f"recipient: {str(recipient)[:64]!r} is not a business-scoped user ID")
    return Recipient(recipient, bsuid=recipient)


def _read_mark(body: Json) -> ReadMark:
    if body["status"] != "read":
        raise GraphError("(#100) Param status must be one of {READ}.", code=100)
    typing = body.get("typing_indicator")
    if typing is not None and (not isinstance(typing, dict) or typing.get("type") != "text"):
        raise GraphError("(#100) Param typing_indicator['type'] must be one of {TEXT}.", code=100)
    return ReadMark(_wamid(body, "message_id", "message_id"), typing=typing is not None)


def _text(_: str, text: Json) -> Content:
    body = text.get("body")
    if not isinstance(body, str) or not body.strip():
        raise missing("text['body']")
    if len(body) > TEXT_CHARS_MAX:
        raise too_long("text['body']", TEXT_CHARS_MAX)
    return Content(text=body)


def _interactive(_: str, interactive: Json) -> Content:
    parts = interactive_content(interactive)
    return Content(
        text=parts.body,
        header=parts.header,
        footer=parts.footer,
        buttons=parts.buttons,
        open_label=parts.open_label,
        rows=parts.rows,
    )


def _media(kind: str, media: Json) -> Content:
    media_id, link, caption = media.get("id"), media.get("link"), media.get("caption")
    if (media_id is None) == (link is None):
        raise not_valid(f"{kind}: exactly one of id and link is required")
    if link is not None and not str(link).startswith(("http://", "https://")):
        raise not_valid(f"{kind}: link is not an http(s) URL")
    if caption is not None and kind not in CAPTIONED_KINDS:
        raise not_valid(f"{kind}: a caption is not allowed")
    if len(str(caption or "")) > CAPTION_CHARS_MAX:
        raise too_long(f"{kind}['caption']", CAPTION_CHARS_MAX)
    name = media.get("filename")
    return Content(
        text=None if caption is None else str(caption),
        media_id=None if media_id is None else str(media_id),
        media_link=None if link is None else str(link),
        filename=None if name is None else str(name),
    )


def _reaction(_: str, reaction: Json) -> Content:
    emoji = reaction.get("emoji", "")
    return Content(text=str(emoji), reaction_to=_wamid(reaction, "message_id", "reaction['message_id']"))


def _template(_: str, template: Json) -> Content:
    name, language = template.get("name"), template.get("language")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        raise missing("template['name']")
    if not isinstance(language, dict) or not language.get("code"):
        raise missing("template['language']['code']")
    components = template.get("components", [])
    if not isinstance(components, list):
        raise titled(132000, details="components is not a list")
    return Content(text=f"[template {name}, {language['code']}]")


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    if not isinstance(value, dict):
        raise missing(name)
    return value


def _wamid(body: Json, name: str, parameter: str) -> str:
    value = body.get(name)
    if value is None:
        raise missing(parameter)
    if not isinstance(value, str) or not _WAMID.fullmatch(value):
        raise not_valid(f"{parameter}: {str(value)[:64]!r} is not a message id")
    return value


_CONTENT: dict[str, Callable[[str, Json], Content]] = {
    "text": _text,
    "interactive": _interactive,
    "reaction": _reaction,
    "template": _template,
    **dict.fromkeys(MEDIA_KINDS, _media),
}
