"""What every channel must keep, whatever its provider: takes a channel and its fixtures, asserts what came out.

A new channel describes itself once in `subjects.py`; `test_conformance.py` runs every check here against it.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.events import EVENT, Unknown
from channels.protocol import Channel, Secrets, SendingAccount, SignatureMissing, SignatureWrong
from core.errors import RequestInvalid

FIXTURES = Path(__file__).parent / "fixtures"
SIGNING = b"app-secret-in-use"
OLD_SIGNING = b"app-secret-of-yesterday"
SECRETS = Secrets(signing=(SIGNING,), verify_token="verify-me", access_token="EAAG-access")
NON_ASCII = "sha256=é\u0928".encode()
BODIES_AT_ONCE_MAX = 5


@dataclass(frozen=True)
class Subject:
    """One channel under test."""

    channel: Channel
    #: Fixture name and raw body, as the provider would post it.
    bodies: Mapping[str, bytes]
    #: The fixtures that hold nothing the vocabulary has a word for.
    unknown: frozenset[str]
    #: Headers that sign a body with a secret, as the provider does.
    sign: Callable[[bytes, bytes], dict[str, bytes]]
    #: The header that carries the signature.
    signature_header: str
    #: The query of a handshake with this token and challenge.
    handshake: Callable[[str, str], dict[str, str]]
    #: One body as several that each carry one part, in order.
    split: Callable[[bytes], list[bytes]]
    #: Several bodies as one, in order.
    merge: Callable[[list[bytes]], bytes]


def fixture_bodies(channel_name: str) -> dict[str, bytes]:
    """The recorded payloads of a channel, compact and with unicode escaped, as Meta and most others post them."""
    folder = FIXTURES / channel_name
    return {path.stem: json.dumps(json.loads(path.read_bytes())).encode() for path in sorted(folder.glob("*.json"))}


def hex_hmac_sha256(secret: bytes, body: bytes) -> bytes:
    """What a provider puts in its signature header."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest().encode()


def verdict(subject: Subject, headers: Mapping[str, bytes], body: bytes, secrets: Secrets, *, chunk: int = 7) -> str:
    """Run the check as the edge does, over a body that arrives in small chunks."""
    check = subject.channel.signature_check(headers, secrets)
    for start in range(0, len(body), chunk):
        check.update(body[start : start + chunk])
    return check.verdict()


def keys(subject: Subject, body: bytes) -> list[tuple[str, str]]:
    """Where each event goes, and its key."""
    return [(routed.external_account_id, routed.event.event_key) for routed in subject.channel.normalise(body)]


def a_true_signature_is_signed(subject: Subject) -> None:
    for body in subject.bodies.values():
        assert verdict(subject, subject.sign(SIGNING, body), body, SECRETS) == "signed"


def a_missing_signature_is_not_the_same_as_a_wrong_one(subject: Subject) -> None:
    with pytest.raises(SignatureMissing):
        subject.channel.signature_check({}, SECRETS)


def altered_bytes_and_strange_secrets_are_refused(subject: Subject) -> None:
    body = next(iter(subject.bodies.values()))
    for headers, raw in (
        (subject.sign(b"somebody-else", body), body),
        (subject.sign(SIGNING, body), body + b" "),
        (subject.sign(SIGNING, body), body[:-1]),
        (subject.sign(SIGNING, body), b""),
    ):
        with pytest.raises(SignatureWrong):
            verdict(subject, headers, raw, SECRETS)


def a_malformed_signature_is_wrong_and_nothing_else(subject: Subject) -> None:
    body = next(iter(subject.bodies.values()))
    good = subject.sign(SIGNING, body)[subject.signature_header]
    cut = (b"", b"sha256=", b"sha256", good[:-1], good + b"0", good * 9)
    for malformed in (*cut, b"sha1=" + good, NON_ASCII, b"\xff\x00"):
        with pytest.raises(SignatureWrong):
            verdict(subject, {subject.signature_header: malformed}, body, SECRETS)


def both_secrets_are_live_while_one_is_rotated(subject: Subject) -> None:
    body = next(iter(subject.bodies.values()))
    rotating = Secrets(signing=(SIGNING, OLD_SIGNING))
    for secret in (SIGNING, OLD_SIGNING):
        assert verdict(subject, subject.sign(secret, body), body, rotating) == "signed"
    with pytest.raises(SignatureWrong):
        verdict(subject, subject.sign(OLD_SIGNING, body), body, SECRETS)


def no_secret_and_an_empty_secret_sign_nothing(subject: Subject) -> None:
    body = next(iter(subject.bodies.values()))
    for nothing in (Secrets(signing=()), Secrets(signing=(b"",))):
        with pytest.raises(SignatureWrong):
            verdict(subject, subject.sign(b"", body), body, nothing)


def a_handshake_gives_back_its_challenge_only_for_our_token(subject: Subject) -> None:
    assert subject.channel.handshake(subject.handshake("verify-me", "1158201444"), SECRETS) == "1158201444"
    for token in ("", "verify-m", "verify-me ", "vérifié", "\ud800"):
        with pytest.raises(SignatureWrong):
            subject.channel.handshake(subject.handshake(token, "1158201444"), SECRETS)
    with pytest.raises(SignatureWrong):
        subject.channel.handshake(subject.handshake("", "1158201444"), Secrets(signing=(SIGNING,)))
    for query in ({}, {"q": "1"}, subject.handshake("verify-me", "")):
        with pytest.raises(RequestInvalid):
            subject.channel.handshake(query, SECRETS)


def every_fixture_becomes_events_that_survive_being_stored(subject: Subject) -> None:
    for name, body in subject.bodies.items():
        routed = subject.channel.normalise(body)
        assert routed, name
        for one in routed:
            assert EVENT.validate_json(EVENT.dump_json(one.event)) == one.event, name


def normalise_is_pure(subject: Subject) -> None:
    for name, body in subject.bodies.items():
        assert subject.channel.normalise(body) == subject.channel.normalise(bytes(bytearray(body))), name


def what_there_is_no_word_for_becomes_unknown(subject: Subject) -> None:
    assert subject.unknown <= subject.bodies.keys()
    for name, body in subject.bodies.items():
        only_unknown = all(isinstance(routed.event, Unknown) for routed in subject.channel.normalise(body))
        assert only_unknown == (name in subject.unknown), name


def no_two_events_of_the_fixtures_share_a_key(subject: Subject) -> None:
    every = [key for body in subject.bodies.values() for key in keys(subject, body)]
    assert len(every) == len(set(every))


def batched_otherwise_the_events_are_the_same(subject: Subject) -> None:
    for name, body in subject.bodies.items():
        parts = subject.split(body)
        assert [key for part in parts for key in keys(subject, part)] == keys(subject, body), name
    bodies = list(subject.bodies.values())

    @given(st.lists(st.sampled_from(bodies), min_size=1, max_size=BODIES_AT_ONCE_MAX))
    @settings(max_examples=50, deadline=None)
    def merged(chosen: list[bytes]) -> None:
        assert keys(subject, subject.merge(chosen)) == [key for body in chosen for key in keys(subject, body)]

    merged()


def a_truncated_body_is_invalid_and_nothing_else(subject: Subject) -> None:
    for body in subject.bodies.values():
        for end in {0, 1, len(body) // 3, len(body) // 2, len(body) - 1}:
            with pytest.raises(RequestInvalid):
                subject.channel.normalise(body[:end])


def garbage_is_invalid_and_nothing_else(subject: Subject) -> None:
    @given(st.binary(max_size=400))
    @settings(max_examples=200, deadline=None)
    def noise(body: bytes) -> None:
        with pytest.raises(RequestInvalid):
            subject.channel.normalise(body)

    noise()
    deep = (b"[" * 200_000, b'{"a":' * 200_000, b"[" * 500 + b"]" * 500)
    for body in (b"null", b"[]", b"{}", b'"text"', b"1", b"1" * 9_999, b"\xef\xbb\xbf{}", *deep):
        with pytest.raises(RequestInvalid):
            subject.channel.normalise(body)


def damaged_bytes_are_read_or_refused_and_never_break(subject: Subject) -> None:
    bodies = list(subject.bodies.values())

    @given(st.sampled_from(bodies), st.data())
    @settings(max_examples=200, deadline=None)
    def damaged(body: bytes, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(body) - 1))
        width = data.draw(st.integers(0, 4))
        altered = body[:at] + data.draw(st.binary(max_size=4)) + body[at + width :]
        try:
            routed = subject.channel.normalise(altered)
        except RequestInvalid:
            return
        for one in routed:
            EVENT.dump_json(one.event)

    damaged()


def no_secret_shows_in_what_is_printed(subject: Subject) -> None:
    body = next(iter(subject.bodies.values()))
    headers = subject.sign(SIGNING, body)
    check = subject.channel.signature_check(headers, SECRETS)
    printed = [repr(check), repr(SECRETS), repr(SendingAccount("1", SECRETS)), repr(subject.channel)]
    with pytest.raises(SignatureWrong) as wrong:
        check.verdict()
    with pytest.raises(SignatureWrong) as refused:
        subject.channel.handshake(subject.handshake("no", "1"), SECRETS)
    printed += [repr(wrong.value), repr(refused.value), str(wrong.value.__dict__), str(refused.value.__dict__)]
    for text in printed:
        for secret in (SIGNING.decode(), SECRETS.verify_token, SECRETS.access_token):
            assert secret not in text


CHECKS: tuple[Callable[[Subject], None], ...] = (
    a_true_signature_is_signed,
    a_missing_signature_is_not_the_same_as_a_wrong_one,
    altered_bytes_and_strange_secrets_are_refused,
    a_malformed_signature_is_wrong_and_nothing_else,
    both_secrets_are_live_while_one_is_rotated,
    no_secret_and_an_empty_secret_sign_nothing,
    a_handshake_gives_back_its_challenge_only_for_our_token,
    every_fixture_becomes_events_that_survive_being_stored,
    normalise_is_pure,
    what_there_is_no_word_for_becomes_unknown,
    no_two_events_of_the_fixtures_share_a_key,
    batched_otherwise_the_events_are_the_same,
    a_truncated_body_is_invalid_and_nothing_else,
    garbage_is_invalid_and_nothing_else,
    damaged_bytes_are_read_or_refused_and_never_break,
    no_secret_shows_in_what_is_printed,
)
