"""Sealing: what a stranger sent, and every secret, is stored only encrypted.

A sealed value has a data key of its own, wrapped by the master key. Deleting the wrapped key makes the
ciphertext unreadable for ever, so erasing is one small UPDATE. AES-256-GCM; the nonce stands before the ciphertext.
"""

import hashlib
import hmac
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import Broken

KEY_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ciphertext and the wrapped key that opens it."""

    ciphertext: bytes
    wrapped_key: bytes


class Sealer:
    """Seals and opens with one master key of 32 bytes. `context` binds a value to its place: it must match."""

    def __init__(self, master_key: bytes) -> None:
        self._master_key = master_key
        self._master = AESGCM(master_key)

    def seal(self, plaintext: bytes, *, context: str) -> Sealed:
        """Encrypt under a fresh data key."""
        # Asked for at once: each question to the kernel costs as much as encrypting a short text.
        fresh = os.urandom(KEY_BYTES + 2 * NONCE_BYTES)
        data_key, nonce, key_nonce = fresh[:KEY_BYTES], fresh[KEY_BYTES:-NONCE_BYTES], fresh[-NONCE_BYTES:]
        bound_to = context.encode()
        ciphertext = nonce + AESGCM(data_key).encrypt(nonce, plaintext, bound_to)
        return Sealed(ciphertext, key_nonce + self._master.encrypt(key_nonce, data_key, bound_to))

    def open(self, sealed: Sealed, *, context: str) -> bytes:
        """Decrypt.

        Raises:
            Broken: the key, the context or the ciphertext is not the one that was sealed.
        """
        try:
            data_key = _decrypt(self._master, sealed.wrapped_key, context)
            return _decrypt(AESGCM(data_key), sealed.ciphertext, context)
        except (InvalidTag, ValueError):
            raise Broken(
                f"sealed value for {context!r} does not open: wrong CHOWK_SECRET_KEY or altered bytes"
            ) from None

    def new_key(self, *, context: str) -> tuple[bytes, bytes]:
        """A fresh data key and its wrapped form, for a value that is sealed piece by piece."""
        data_key = os.urandom(KEY_BYTES)
        return data_key, _encrypt(self._master, data_key, context)

    def open_key(self, wrapped_key: bytes, *, context: str) -> bytes:
        """Unwrap a data key.

        Raises:
            Broken: the key or the context is not the one it was wrapped with.
        """
        try:
            return _decrypt(self._master, wrapped_key, context)
        except (InvalidTag, ValueError):
            raise Broken(
                f"the wrapped key for {context!r} does not open: wrong CHOWK_SECRET_KEY or altered bytes"
            ) from None

    def keyed_hash(self, text: str) -> str:
        """A hash that only a holder of the master key can make: for finding equal values without keeping them."""
        return hmac.new(self._master_key, text.encode(), hashlib.sha256).hexdigest()


def _encrypt(cipher: AESGCM, plaintext: bytes, context: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plaintext, context.encode())


def _decrypt(cipher: AESGCM, sealed: bytes, context: str) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context.encode())
