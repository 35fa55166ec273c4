import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.json_body import fingerprint, read_json
from core.errors import RequestInvalid

SURROGATE = st.integers(0xD800, 0xDFFF).map(chr)
ANY_TEXT = st.lists(st.one_of(st.characters(), SURROGATE, st.sampled_from(["\0", "\\", "\\u0000", "\\ud83d"]))).map(
    "".join
)


def scrubbed(text: str) -> str:
    """What is left of a text: pairs of surrogates joined, lone ones and NUL replaced."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "\ufffd")


def holds_no_lone_surrogate_and_no_nul(value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    return "\0" not in text and "\\u0000" not in text.replace("\\\\", "")


def test_nul_becomes_the_replacement_character() -> None:
    assert read_json(rb'["a\u0000b"]') == ["a\ufffdb"]


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert read_json(rb'["\ud83d", "\uDE4F x", "\ud83d\ud83d\ude4f", "\ude4f\ud83d"]') == [
        "\ufffd",
        "\ufffd x",
        "\ufffd\U0001f64f",
        "\ufffd\ufffd",
    ]


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert read_json(rb'["\ud83d\ude4f\uD83C\uDFFD"]') == ["\U0001f64f\U0001f3fd"]


def test_a_backslash_that_is_text_is_left_alone() -> None:
    assert read_json(rb'["\\u0000", "\\\\ud83d", "\\\u0000", "\\ud83d\ude4f"]') == [
        "\\u0000",
        "\\\\ud83d",
        "\\\ufffd",
        "\\ud83d\ufffd",
    ]


@given(ANY_TEXT)
def test_any_text_of_a_stranger_can_be_stored(text: str) -> None:
    value = read_json(json.dumps([text, {text: 1}]).encode())
    assert holds_no_lone_surrogate_and_no_nul(value)
    assert isinstance(value, list)
    assert value[0] == scrubbed(text)


def test_a_whole_number_keeps_every_digit() -> None:
    assert read_json(b"[12345678901234567890123, 9007199254740993]") == [12345678901234567890123, 9007199254740993]


@pytest.mark.parametrize("levels", [500, 100_000])
def test_deep_nesting_is_refused(levels: int) -> None:
    for body in (b"[" * levels + b"]" * levels, b'{"a":' * levels + b"1" + b"}" * levels):
        with pytest.raises(RequestInvalid, match="recursion limit"):
            read_json(body)


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b"[NaN]", b'["\xff"]', b'["\xed\xa0\x80"]', b"{} x", b'["\x00"]'])
def test_what_is_not_json_is_refused_with_its_length(body: bytes) -> None:
    with pytest.raises(RequestInvalid, match=f"the body of {len(body)} bytes"):
        read_json(body)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(RequestInvalid) as refused:
        read_json(b'{"text": "my number is 9876 5432 1098",')
    assert "9876" not in refused.value.message


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [1, {"x": 1, "y": 2}]}) == fingerprint({"b": [1, {"y": 2, "x": 1}], "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert len(fingerprint(None)) == 64


def test_numbers_beyond_64_bits_have_a_fingerprint() -> None:
    assert fingerprint(read_json(b"[" + b"9" * 4_000 + b", 1e999]")) != fingerprint(
        read_json(b"[" + b"8" * 4_000 + b", 1e999]")
    )
