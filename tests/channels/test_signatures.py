import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.protocol import SignatureWrong
from channels.signatures import HmacSha256Check, same_secret


def hex_of(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, body, hashlib.sha256).hexdigest().encode()


@given(st.lists(st.binary(max_size=50)), st.binary(min_size=1, max_size=80))
def test_the_verdict_does_not_depend_on_how_the_body_was_cut(chunks: list[bytes], secret: bytes) -> None:
    check = HmacSha256Check(hex_of(secret, b"".join(chunks)), [secret], source="X-Signature")
    for chunk in chunks:
        check.update(chunk)
    assert check.verdict() == "signed"


def test_an_upper_case_signature_is_the_same_signature() -> None:
    check = HmacSha256Check(
        b" sha256=" + hex_of(b"key", b"").upper(), [b"key"], source="X-Signature", prefix=b"sha256="
    )
    assert check.verdict() == "signed"


@given(st.binary(max_size=120))
def test_no_header_value_breaks_the_comparison(given_bytes: bytes) -> None:
    check = HmacSha256Check(given_bytes, [b"key", b"other"], source="X-Signature")
    check.update(b"body")
    with pytest.raises(SignatureWrong, match="none of the 2 live secrets"):
        check.verdict()


def test_a_signature_without_its_prefix_is_wrong() -> None:
    check = HmacSha256Check(hex_of(b"key", b""), [b"key"], source="X-Signature", prefix=b"sha256=")
    with pytest.raises(SignatureWrong, match="X-Signature"):
        check.verdict()


def test_secret_words_are_compared_whole() -> None:
    assert same_secret("नमस्ते", "नमस्ते")
    assert not same_secret("नमस्त", "नमस्ते")
    assert not same_secret("", "")
    assert not same_secret("x", "")
    assert not same_secret("\ud800", "x")
