"""What follows when a business's message is taken: an id, a bubble on the customer's phone, and status webhooks."""

import time

from core.clock import utc_now
from sandbox.emulator.attachments import media_attachment
from sandbox.emulator.config import Business
from sandbox.emulator.faults import Fault
from sandbox.emulator.sent_log import SentMessage
from sandbox.emulator.state import Emulator
from sandbox.emulator.transcript import ChatMessage
from sandbox.emulator.validation import Content, Outbound, ReadMark
from sandbox.emulator.wamid import new_wamid

#: The typing sign ends by itself after this long, as on a real phone.
TYPING_S = 25


def accept(
    emulator: Emulator, business: Business, outbound: Outbound, body: dict[str, object], fault: Fault | None
) -> SentMessage:
    """Take a message. A `fault` that lets it through may still turn its statuses into a failure."""
    customer = emulator.reached(outbound.recipient)
    wamid = new_wamid(customer.id, "outbound")
    sent = emulator.sent.add(
        wamid=wamid,
        phone_number_id=business.phone_number_id,
        business=business.name,
        customer=customer.id,
        outbound=outbound,
        body=body,
    )
    sent.answered = fault is None or fault.kind in ("delay", "status_failed")
    if outbound.content.reaction_to is not None:
        _react(emulator, outbound.content)
    elif fault is None or fault.kind != "status_failed":
        emulator.transcript.add(_bubble(emulator, business, outbound, wamid=wamid, customer_id=customer.id))
    emulator.schedule_statuses(business, customer, wamid, outbound.correlation, fault)
    return sent


def mark_read(emulator: Emulator, mark: ReadMark) -> None:
    """Colour the ticks and show the typing sign. A message that was not written here is read all the same."""
    message = emulator.transcript.find(mark.message_id)
    if message is None:
        return
    emulator.transcript.read_up_to(message)
    if mark.typing:
        typing: dict[str, object] = {
            "business": message.business,
            "customer": message.customer,
            "until": time.time() + TYPING_S,
        }
        emulator.events.publish(message.customer, "typing", lambda: typing)


def _bubble(emulator: Emulator, business: Business, outbound: Outbound, *, wamid: str, customer_id: str) -> ChatMessage:
    content = outbound.content
    return ChatMessage(
        id=wamid,
        business=business.phone_number_id,
        customer=customer_id,
        side="business",
        kind=outbound.kind,
        at=utc_now(),
        text=content.text if content.media_link is None else f"{content.text or ''}\n{content.media_link}".strip(),
        header=content.header,
        footer=content.footer,
        reply_to=outbound.reply_to,
        attachment=media_attachment(emulator.media, content.media_id, name=content.filename),
        buttons=content.buttons,
        open_label=content.open_label,
        rows=content.rows,
    )


def _react(emulator: Emulator, content: Content) -> None:
    message = emulator.transcript.find(content.reaction_to or "")
    if message is not None:
        emulator.transcript.react(message, "business", content.text or "")
