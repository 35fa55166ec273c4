import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.crypto import Sealed, Sealer
from core.errors import Broken

SEALER = Sealer(b"k" * 32)


@given(st.binary())
def test_what_is_sealed_opens_in_its_own_place_alone(plaintext: bytes) -> None:
    sealed = SEALER.seal(plaintext, context="inbox:acc_1")
    assert SEALER.open(sealed, context="inbox:acc_1") == plaintext
    with pytest.raises(Broken, match="CHOWK_SECRET_KEY"):
        SEALER.open(sealed, context="inbox:acc_2")


@given(st.binary(min_size=1), st.integers(min_value=0))
def test_an_altered_byte_is_noticed(plaintext: bytes, place: int) -> None:
    sealed = SEALER.seal(plaintext, context="x")
    altered = bytearray(sealed.ciphertext)
    altered[place % len(altered)] ^= 1
    with pytest.raises(Broken):
        SEALER.open(Sealed(bytes(altered), sealed.wrapped_key), context="x")


def test_the_same_text_is_sealed_differently_each_time() -> None:
    assert SEALER.seal(b"same", context="x") != SEALER.seal(b"same", context="x")


def test_another_master_key_opens_nothing() -> None:
    sealed = SEALER.seal(b"words", context="x")
    with pytest.raises(Broken):
        Sealer(b"o" * 32).open(sealed, context="x")


def test_a_keyed_hash_depends_on_the_key() -> None:
    assert SEALER.keyed_hash("234123412346") == SEALER.keyed_hash("234123412346")
    assert SEALER.keyed_hash("234123412346") != Sealer(b"o" * 32).keyed_hash("234123412346")
