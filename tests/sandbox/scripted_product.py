"""A product that answers by script, through the emulator's send API: for tests of the phone page."""

from collections.abc import Awaitable, Callable

from tests.sandbox.emulated import SEND, Emulated
from tests.sandbox.webhook_receiver import Received

RECEIPT = (
    "Yes. Every donation gets an *80G receipt* by e-mail within 48 hours; download it any time at "
    "https://asha.example/receipts.\n\nSource: Tax receipts for donations"
)
BUTTONS = {
    "type": "button",
    "header": {"type": "text", "text": "Monthly giving"},
    "body": {"text": "Shall I change your monthly amount to ₹1,000?"},
    "footer": {"text": "You can undo this for 24 hours"},
    "action": {
        "buttons": [
            {"type": "reply", "reply": {"id": "yes", "title": "Yes, change it"}},
            {"type": "reply", "reply": {"id": "no", "title": "No, keep ₹500"}},
            {"type": "reply", "reply": {"id": "person", "title": "Talk to a person"}},
        ]
    },
}
CITIES = {
    "type": "list",
    "body": {"text": "We have offices in four cities. Which one is near you?"},
    "action": {
        "button": "Choose a city",
        "sections": [
            {
                "title": "South",
                "rows": [
                    {"id": "blr", "title": "Bengaluru", "description": "12 Church Street, Mon to Sat 10:00 to 18:00"},
                    {"id": "chn", "title": "Chennai", "description": "4 Mount Road, Mon to Fri 9:30 to 17:30"},
                ],
            },
            {
                "title": "North and west",
                "rows": [
                    {"id": "lko", "title": "Lucknow", "description": "Hazratganj, opposite the library"},
                    {"id": "pnq", "title": "Pune"},
                ],
            },
        ],
    },
}


def scripted(emulator: Emulated) -> Callable[[Received], Awaitable[None]]:
    """What to do with each webhook: read it, show that it is being answered, and answer by its words.

    "slow" leaves the typing sign on; "silent" is not even read.
    """

    async def on_post(received: Received) -> None:
        for message in received.value().get("messages", []):
            words = _words(message)
            if "silent" in words:
                continue
            mark = {"status": "read", "message_id": message["id"], "typing_indicator": {"type": "text"}}
            await emulator.client.post(SEND, json={"messaging_product": "whatsapp", **mark})
            if "slow" not in words:
                await _answer(emulator, message, words)

    return on_post


def _words(message: dict) -> str:
    if message["type"] == "interactive":
        reply = message["interactive"]
        return reply[reply["type"]]["title"]
    return message.get("text", {}).get("body", "")


async def _answer(emulator: Emulated, message: dict, words: str) -> None:
    to = {"to": message.get("from"), "recipient": message.get("from_user_id")}
    if message["type"] in ("reaction", "edit", "revoke"):
        return
    if "receipt" in words:
        await emulator.send(**to, text=RECEIPT, context={"message_id": message["id"]})
    elif "amount" in words:
        await emulator.send(**to, type="interactive", interactive=BUTTONS)
    elif "office" in words:
        await emulator.send(**to, type="interactive", interactive=CITIES)
    else:
        answer = f"You sent {message['type']}: {words}" if words else f"Thank you, I have your {message['type']}."
        await emulator.send(**to, text=answer)
