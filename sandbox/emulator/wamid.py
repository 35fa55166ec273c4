"""Message ids that look like Meta's: `wamid.HBg…`, base64 of the number, the direction and a random key.

Layout seen in real ids (2026): 1C 18 <length> <number> 15 02 00 <11 out | 12 in> 18 <length> <hex key> 00.
"""

import base64
import secrets
from typing import Literal

_KEY_BYTES = {"outbound": 9, "inbound": 16}
_DIRECTION = {"outbound": b"\x11", "inbound": b"\x12"}


def new_wamid(party: str, direction: Literal["outbound", "inbound"]) -> str:
    """Mint the id of a message to or from `party`, a wa_id or a BSUID."""
    name = party.encode()[:255]
    key = secrets.token_hex(_KEY_BYTES[direction]).upper().encode()
    raw = b"\x1c\x18" + bytes([len(name)]) + name + b"\x15\x02\x00" + _DIRECTION[direction]
    return "wamid." + base64.b64encode(raw + b"\x18" + bytes([len(key)]) + key + b"\x00").decode()
