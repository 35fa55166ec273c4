"""The customer's side: what a person does on the phone becomes a bubble at once and a webhook to the business."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from core.clock import utc_now
from core.errors import Conflict, RequestInvalid
from sandbox.emulator.acts import ActKind, CustomerAct, Performed
from sandbox.emulator.attachments import media_attachment
from sandbox.emulator.config import Business, Customer
from sandbox.emulator.delivery import Delivery
from sandbox.emulator.envelopes import Json, message_value
from sandbox.emulator.interactive import Choice
from sandbox.emulator.media import MediaFile
from sandbox.emulator.state import Emulator
from sandbox.emulator.transcript import ChatMessage
from sandbox.emulator.wamid import new_wamid

#: How long a person may change the words of a message.
EDIT_MINUTES_MAX = 15


@dataclass(frozen=True, slots=True)
class Phone:
    """Everything that one act needs: where, between whom, what, and under which id."""

    emulator: Emulator
    business: Business
    customer: Customer
    act: CustomerAct
    file: MediaFile | None
    wamid: str

    def target(self) -> ChatMessage:
        """The message that the act is about.

        Raises:
            NotFound: it is no message of this chat.
        """
        return self.emulator.transcript.in_chat(self.business.phone_number_id, self.customer.id, self.act.target or "")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The `type` and content of the webhook's message, the bubble, and what to do once the webhook is on its way."""

    webhook: Json
    bubble: ChatMessage
    change: Callable[[], object]


def perform(
    emulator: Emulator, business: Business, customer: Customer, act: CustomerAct, file: MediaFile | None
) -> Performed:
    """Do it.

    Raises:
        NotFound: `target` or `reply_to` is no message of this chat.
        Conflict: the message is not in a state that allows it.
        RequestInvalid: the file or the choice is missing or unknown.
        Overloaded: too many webhooks are waiting.
    """
    wamid = new_wamid(customer.id, "inbound")
    prepared = _PREPARERS[act.kind](Phone(emulator, business, customer, act, file, wamid))

    def on_attempt(delivery: Delivery) -> None:
        _show_attempt(emulator, prepared.bubble, delivery)

    value = message_value(customer, prepared.webhook, wamid=wamid, at=utc_now())
    emulator.post.post(business, value, customer_id=customer.id, label=f"messages/{act.kind}", on_attempt=on_attempt)
    prepared.change()
    return Performed(id=wamid, message=prepared.bubble.as_json())


def _say(phone: Phone) -> Prepared:
    """A text or a file, perhaps in answer to another message."""
    act, bubble = phone.act, _bubble(phone)
    bubble.text = act.text or None
    if phone.file is not None:
        bubble.attachment = media_attachment(phone.emulator.media, phone.file.id)
    webhook: Json = {**_context(phone, bubble, act.reply_to), "type": act.kind}
    webhook[act.kind] = {"body": act.text} if act.kind == "text" else _media(act, phone.file)
    return Prepared(webhook, bubble, lambda: phone.emulator.transcript.add(bubble))


def _choose(phone: Phone) -> Prepared:
    """A button or a row of a message of the business."""
    offer = phone.target()
    choice = _chosen(offer, phone.act)
    bubble = _bubble(phone)
    bubble.text, bubble.chosen = choice.title, choice.id
    reply: Json = {"id": choice.id, "title": choice.title}
    if choice.description:
        reply["description"] = choice.description
    kind = phone.act.kind
    webhook = {**_context(phone, bubble, offer.id), "type": "interactive", "interactive": {"type": kind, kind: reply}}
    return Prepared(webhook, bubble, lambda: phone.emulator.transcript.add(bubble))


def _react(phone: Phone) -> Prepared:
    """A reaction, or its removal."""
    message, emoji = phone.target(), phone.act.text
    if message.deleted:
        raise Conflict("the message was taken back; there is nothing to react to")
    webhook: Json = {"type": "reaction", "reaction": {"message_id": message.id, "emoji": emoji}}
    return Prepared(webhook, message, lambda: phone.emulator.transcript.react(message, "customer", emoji))


def _edit(phone: Phone) -> Prepared:
    """Other words in a message of one's own."""
    message = _own(phone)
    if message.kind != "text":
        raise Conflict(f"a message of kind {message.kind} has no words to change; only texts can be edited")
    if utc_now() - message.at > timedelta(minutes=EDIT_MINUTES_MAX):
        raise Conflict(f"the message is older than {EDIT_MINUTES_MAX} minutes and can no longer be edited")

    def change() -> None:
        message.text, message.edited = phone.act.text, True
        phone.emulator.transcript.changed(message)

    changed = {"type": "text", "text": {"body": phone.act.text}}
    return Prepared({"type": "edit", "edit": {"original_message_id": message.id, "message": changed}}, message, change)


def _revoke(phone: Phone) -> Prepared:
    """A message of one's own, taken back."""
    message = _own(phone)

    def change() -> None:
        message.deleted, message.text, message.attachment = True, None, None
        message.reactions.clear()
        phone.emulator.transcript.changed(message)

    return Prepared({"type": "revoke", "revoke": {"original_message_id": message.id}}, message, change)


_PREPARERS: dict[ActKind, Callable[[Phone], Prepared]] = {
    "text": _say,
    "image": _say,
    "document": _say,
    "audio": _say,
    "video": _say,
    "button_reply": _choose,
    "list_reply": _choose,
    "reaction": _react,
    "edit": _edit,
    "revoke": _revoke,
}


def _bubble(phone: Phone) -> ChatMessage:
    return ChatMessage(
        id=phone.wamid,
        business=phone.business.phone_number_id,
        customer=phone.customer.id,
        side="customer",
        kind=phone.act.kind,
        at=utc_now(),
    )


def _context(phone: Phone, bubble: ChatMessage, reply_to: str | None) -> Json:
    """What a reply says of the message it answers; nothing where it answers none."""
    if reply_to is None:
        return {}
    answered = phone.emulator.transcript.in_chat(bubble.business, bubble.customer, reply_to)
    bubble.reply_to = answered.id
    by_business = answered.side == "business"
    author = phone.business.display_phone_number if by_business else phone.customer.wa_id
    return {"context": {**({"from": author} if author else {}), "id": answered.id}}


def _media(act: CustomerAct, file: MediaFile | None) -> Json:
    if file is None:
        raise RequestInvalid(f"{act.kind} needs a file; send a form with the field `file`")
    media: Json = {"mime_type": file.mime, "sha256": file.sha256_base64, "id": file.id}
    if act.kind == "audio":
        return {**media, "voice": act.voice}
    if act.text:
        media["caption"] = act.text
    if act.kind == "document":
        media["filename"] = file.name or "file"
    return media


def _chosen(offer: ChatMessage, act: CustomerAct) -> Choice:
    offered = offer.buttons if act.kind == "button_reply" else offer.rows
    for choice in offered:
        if choice.id == act.choice:
            return choice
    ids = ", ".join(choice.id for choice in offered) or "nothing"
    raise RequestInvalid(f"choice {act.choice!r} is not offered by message {offer.id}; it offers {ids}")


def _own(phone: Phone) -> ChatMessage:
    message = phone.target()
    if message.side != "customer":
        raise Conflict("the message is the business's; a customer can change only their own")
    if message.deleted:
        raise Conflict("the message was taken back already")
    return message


def _show_attempt(emulator: Emulator, message: ChatMessage, delivery: Delivery) -> None:
    """Two ticks once the business's system took the webhook; until then, what it answered."""
    if delivery.state == "delivered":
        emulator.transcript.taken(message)
        return
    last = delivery.answers[-1]
    what = f"answered {last}" if isinstance(last, int) else f"does not answer ({last})"
    ending = "given up" if delivery.state == "given_up" else "trying again"
    message.trouble = f"The organisation's system {what}; {ending}."
    emulator.transcript.changed(message)
