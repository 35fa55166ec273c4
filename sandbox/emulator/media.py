"""Files that customers and businesses attached: kept in memory, under limits, the oldest dropped first.

As with Meta, an id leads to a short-lived URL, and only that URL with the right token leads to the bytes.
"""

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from core.errors import BodyTooLarge, RequestInvalid

FILES_MAX = 500
TOTAL_BYTES_MAX = 128 * 1024 * 1024
URL_LIFE_S = 300
MIB = 1024 * 1024
#: Meta's limits by kind of message (developers.facebook.com, media reference); documents there go up to 100 MB.
FILE_BYTES_MAX = {
    "image": 5 * MIB,
    "audio": 16 * MIB,
    "video": 16 * MIB,
    "document": 25 * MIB,
    "sticker": MIB // 2,
}


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file. `phone_number_id` is the number whose token may fetch it."""

    id: str
    phone_number_id: str
    mime: str
    name: str | None
    body: bytes
    sha256: bytes

    @property
    def sha256_base64(self) -> str:
        """As webhooks state it."""
        return base64.b64encode(self.sha256).decode()

    @property
    def sha256_hex(self) -> str:
        """As GET /{media_id} states it."""
        return self.sha256.hex()


class MediaStore:
    """All files, and the URLs that lead to them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, MediaFile] = OrderedDict()
        self._total_bytes = 0
        self._url_key = secrets.token_bytes(32)

    def add(self, *, phone_number_id: str, kind: str, mime: str, name: str | None, body: bytes) -> MediaFile:
        """Keep one file.

        Raises:
            BodyTooLarge: it is over the limit of its kind.
            RequestInvalid: it is empty.
        """
        if len(body) > FILE_BYTES_MAX[kind]:
            raise BodyTooLarge(
                f"{kind} of {len(body)} bytes is over the limit of {FILE_BYTES_MAX[kind]}; send a smaller file"
            )
        if not body:
            raise RequestInvalid("the file is empty; attach one with content")
        media_id = str(secrets.randbelow(9 * 10**15) + 10**15)
        file = MediaFile(media_id, phone_number_id, mime, name, body, hashlib.sha256(body).digest())
        self._files[media_id] = file
        self._total_bytes += len(body)
        while len(self._files) > FILES_MAX or self._total_bytes > TOTAL_BYTES_MAX:
            _, dropped = self._files.popitem(last=False)
            self._total_bytes -= len(dropped.body)
        return file

    def find(self, media_id: str) -> MediaFile | None:
        """The file of an id; None where it never was or was dropped."""
        return self._files.get(media_id)

    def url_query(self, media_id: str, *, now_s: float) -> dict[str, str]:
        """What makes the URL of a file valid for the next five minutes: `mid`, `ext` and `hash`."""
        expires = str(int(now_s) + URL_LIFE_S)
        return {"mid": media_id, "ext": expires, "hash": self._url_hash(media_id, expires)}

    def by_url(self, query: dict[str, str], *, now_s: float) -> MediaFile | None:
        """The file that a URL leads to; None where the URL is wrong or has expired."""
        media_id, expires = query.get("mid", ""), query.get("ext", "")
        right = hmac.compare_digest(self._url_hash(media_id, expires).encode(), query.get("hash", "").encode())
        return self.find(media_id) if right and int(expires) > now_s else None

    def _url_hash(self, media_id: str, expires: str) -> str:
        return hmac.new(self._url_key, f"{media_id}.{expires}".encode(), hashlib.sha256).hexdigest()[:32]
