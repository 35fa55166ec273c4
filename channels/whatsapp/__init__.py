"""WhatsApp Cloud API: signed webhooks in, Graph calls out. This package satisfies `channels.protocol.Channel`."""

from typing import Final

from channels.meta import handshake, signature_check
from channels.whatsapp.inbound import normalise
from channels.whatsapp.outbound import send

__all__ = ["body_bytes_max", "debounce_ms", "handshake", "name", "normalise", "send", "signature_check"]

name: Final = "whatsapp"
#: Meta states 3 MB for a webhook body, which holds up to 1,000 updates.
body_bytes_max: Final = 3 * 1024 * 1024
#: People write in pieces here.
debounce_ms: Final[int | None] = None
