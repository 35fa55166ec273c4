import json
from collections.abc import Iterator

import pytest

from channels.meta import GraphFault, channel_name_of, graph_fault, graph_version
from core.errors import NotFound, RequestInvalid, SettingInvalid
from tests.channels.conformance import fixture_bodies


@pytest.fixture
def _fresh_version() -> Iterator[None]:
    graph_version.cache_clear()
    yield
    graph_version.cache_clear()


@pytest.mark.parametrize(
    ("envelope", "name"), [("whatsapp_business_account", "whatsapp"), ("page", "messenger"), ("instagram", "instagram")]
)
def test_the_envelope_names_its_channel(envelope: str, name: str) -> None:
    assert channel_name_of(json.dumps({"entry": [], "object": envelope}).encode()) == name


def test_every_whatsapp_payload_is_of_the_channel_whatsapp() -> None:
    assert {channel_name_of(body) for body in fixture_bodies("whatsapp").values()} == {"whatsapp"}


def test_an_object_inside_a_message_does_not_name_the_channel() -> None:
    body = json.dumps({"entry": [{"object": "page"}], "object": "instagram"}).encode()
    assert channel_name_of(body) == "instagram"


def test_an_object_of_no_channel_is_not_found() -> None:
    with pytest.raises(NotFound, match="'permissions'"):
        channel_name_of(b'{"object": "permissions", "entry": []}')


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"object": 1}', b'{"object": null}', b"[" * 9_999, b"\xff"])
def test_what_is_no_envelope_is_invalid(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        channel_name_of(body)


@pytest.mark.usefixtures("_fresh_version")
def test_the_graph_version_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOWK_META_GRAPH_VERSION", "v27.0")
    assert graph_version() == "v27.0"


@pytest.mark.usefixtures("_fresh_version")
def test_a_wrong_graph_version_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHOWK_META_GRAPH_VERSION", "latest")
    with pytest.raises(SettingInvalid, match="CHOWK_META_GRAPH_VERSION"):
        graph_version()


def test_a_graph_error_is_read_whole() -> None:
    body = json.dumps(
        {
            "error": {
                "message": "(#131047) Re-engagement message",
                "type": "OAuthException",
                "code": 131047,
                "error_data": {"messaging_product": "whatsapp", "details": "More than 24 hours have passed."},
                "fbtrace_id": "A1b2",
            }
        }
    ).encode()
    assert graph_fault(body) == GraphFault(
        code=131047,
        message="(#131047) Re-engagement message",
        details="More than 24 hours have passed.",
        transient=False,
    )


def test_a_graph_error_may_say_that_it_will_pass() -> None:
    body = b'{"error": {"message": "Please retry", "code": 2, "is_transient": true, "error_data": "later"}}'
    assert graph_fault(body) == GraphFault(code=2, message="Please retry", details="later", transient=True)


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad gateway</html>", b"{}", b'{"error": "no"}', b'{"error": {"message": "x"}}', b"[" * 9_999]
)
def test_what_is_no_graph_error_is_none(body: bytes) -> None:
    assert graph_fault(body) is None
