"""The wire shapes of WhatsApp webhooks: only the fields that we read; whatever else is there is ignored.

Source: developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages, and for the
fields around user ids the same site's page on business-scoped user ids.
"""

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Keeps an event key that holds two ids under its 512 characters. Real ids are shorter than 200.
ID_LENGTH_MAX: Final = 240


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


WireId = Annotated[str, Field(min_length=1, max_length=ID_LENGTH_MAX)]
#: An id that may be absent, and that some senders leave empty instead.
MaybeId = Annotated[WireId | None, BeforeValidator(_none_if_empty)]


class Payload(BaseModel):
    """A part of a webhook. Ids stay strings even where a sender writes them as numbers."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class ErrorData(Payload):
    """The words that explain an error."""

    details: str | None = None


class WireError(Payload):
    """One of `errors[]`, on a message, a status or a whole value."""

    code: str | None = None
    title: str | None = None
    message: str | None = None
    error_data: ErrorData | str | None = None


class Profile(Payload):
    """What a person calls themselves."""

    name: str | None = None
    username: str | None = None


class Contact(Payload):
    """One of `contacts[]`: belongs to messages by its ids, never by its place. Either id may be absent."""

    wa_id: MaybeId = None
    user_id: MaybeId = None
    profile: Profile | None = None


class Context(Payload):
    """What a message answers, and whether it was passed on."""

    id: MaybeId = None
    forwarded: bool = False
    frequently_forwarded: bool = False


class TextSection(Payload):
    """`text`."""

    body: str


class MediaSection(Payload):
    """`image`, `audio`, `video`, `document` or `sticker`."""

    id: WireId
    mime_type: str | None = None
    sha256: str | None = None
    caption: str | None = None
    filename: str | None = None
    voice: bool = False


class ReactionSection(Payload):
    """`reaction`: an empty or absent emoji takes the reaction back."""

    message_id: WireId
    emoji: str | None = None


class Reply(Payload):
    """The button or row that was chosen."""

    id: str
    title: str


class InteractiveSection(Payload):
    """`interactive`: the answer to buttons or a list."""

    type: str
    button_reply: Reply | None = None
    list_reply: Reply | None = None


class ButtonSection(Payload):
    """`button`: a quick reply of a template."""

    payload: str | None = None
    text: str


class Caption(Payload):
    """The media of an edited message, of which only the caption can change."""

    caption: str | None = None


class EditedMessage(Payload):
    """What a message became."""

    type: str
    text: TextSection | None = None
    image: Caption | None = None
    video: Caption | None = None
    document: Caption | None = None


class EditSection(Payload):
    """`edit`."""

    original_message_id: WireId
    message: EditedMessage


class RevokeSection(Payload):
    """`revoke`."""

    original_message_id: WireId


class Message(Payload):
    """One of `messages[]` or `message_echoes[]`. The section named by `type` holds the content.

    `from` is absent where the person has not shared a number, and may hold a user id instead of one.
    """

    id: WireId
    type: str
    timestamp: str | None = None
    sender_id: MaybeId = Field(None, alias="from")
    sender_user_id: MaybeId = Field(None, alias="from_user_id")
    recipient_id: MaybeId = Field(None, alias="to")
    recipient_user_id: MaybeId = Field(None, alias="to_user_id")
    group_id: str | None = None
    context: Context | None = None
    errors: tuple[WireError, ...] | None = None
    text: TextSection | None = None
    image: MediaSection | None = None
    audio: MediaSection | None = None
    video: MediaSection | None = None
    document: MediaSection | None = None
    sticker: MediaSection | None = None
    reaction: ReactionSection | None = None
    interactive: InteractiveSection | None = None
    button: ButtonSection | None = None
    edit: EditSection | None = None
    revoke: RevokeSection | None = None


class Status(Payload):
    """One of `statuses[]`. A `type` such as `payment` makes it the status of something else than a message."""

    id: WireId
    status: str
    type: str | None = None
    timestamp: str | None = None
    recipient_id: MaybeId = None
    recipient_user_id: MaybeId = None
    biz_opaque_callback_data: str | None = None
    errors: tuple[WireError, ...] | None = None
