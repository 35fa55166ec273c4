"""Signatures of webhooks: the HMAC of the raw bytes, checked against every live secret in constant time."""

import hashlib
import hmac
from collections.abc import Iterable

from channels.protocol import SignatureWrong, Verdict


class HmacSha256Check:
    """Checks a hex HMAC-SHA256 over the body as it streams by. Satisfies `SignatureCheck`.

    An empty secret is no secret: anyone can sign with an empty key, so it never matches.
    """

    __slots__ = ("_given", "_macs", "_prefix", "_source")

    def __init__(self, given: bytes, secrets: Iterable[bytes], *, source: str, prefix: bytes = b"") -> None:
        """Begin a check of `given`, the raw value of the header `source`, which is `prefix` and the hex digest."""
        self._given = given.strip().lower()
        self._prefix = prefix
        self._source = source
        self._macs = [hmac.new(secret, digestmod=hashlib.sha256) for secret in secrets if secret]

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the raw body."""
        for mac in self._macs:
            mac.update(chunk)

    def verdict(self) -> Verdict:
        """Give the verdict over all bytes taken.

        Raises:
            SignatureWrong: no live secret gives the signature that came, or what came is no signature.
        """
        matches = [hmac.compare_digest(self._prefix + mac.hexdigest().encode(), self._given) for mac in self._macs]
        if not any(matches):
            raise SignatureWrong(
                f"{self._source} was made with none of the {len(self._macs)} live secrets, or the body was altered: "
                "compare the account's app secret with the provider's console"
            )
        return "signed"


def same_secret(given: str, expected: str) -> bool:
    """Whether two secret words are equal, in constant time. An empty `expected` equals nothing."""
    return bool(expected) and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), expected.encode("utf-8", "surrogatepass")
    )
