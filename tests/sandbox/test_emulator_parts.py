"""The parts of the emulator by themselves: configuration, faults, the event stream, ids, media URLs."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Overloaded, SettingInvalid
from sandbox.emulator import events as events_module
from sandbox.emulator.config import CONFIG_VARIABLE, EmulatorConfig, load_config
from sandbox.emulator.envelopes import body_bytes
from sandbox.emulator.events import EventStream
from sandbox.emulator.faults import Fault, Faults
from sandbox.emulator.media import URL_LIFE_S, MediaStore
from sandbox.emulator.wamid import new_wamid
from tests.sandbox.emulated import NUMBER, OTHER_NUMBER, PRIYA, a_config


def frames(chunks: list[bytes]) -> list[tuple[str, dict]]:
    """Name and content of each event among chunks of a stream."""
    lines = [chunk.decode().splitlines() for chunk in chunks if chunk.startswith(b"id:")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for _, name, data, *_ in lines]


async def take(stream: AsyncIterator[bytes], count: int) -> list[bytes]:
    async with asyncio.timeout(5):
        return [await anext(stream) for _ in range(count)]


def test_the_configuration_is_read_from_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sandbox.json"
    path.write_text(json.dumps(a_config("http://127.0.0.1:1/webhooks")))
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    config = load_config()
    assert [business.phone_number_id for business in config.businesses] == [NUMBER, OTHER_NUMBER]
    assert "EAAtoken" not in repr(config)


def test_organisations_of_other_channels_are_passed_over() -> None:
    config = a_config("http://127.0.0.1:1/webhooks")
    config["businesses"].append({"channel": "instagram", "name": "Asha", "ig_id": "5"})
    assert len(EmulatorConfig.model_validate(config).businesses) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not set"),
        ("{", "Invalid JSON"),
        ('{"customers": [{"name": "Nobody"}]}', "neither wa_id nor bsuid"),
        ('{"customers": [{"name": "A", "wa_id": "91980"}, {"name": "B", "wa_id": "91980"}]}', "listed twice"),
        ('{"businesses": [{"name": "Asha"}]}', "businesses.0.phone_number_id"),
    ],
)
def test_a_wrong_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, words: str
) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    if content is not None:
        path = tmp_path / "sandbox.json"
        path.write_text(content)
        monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    with pytest.raises(SettingInvalid, match=words):
        load_config()


def test_a_missing_configuration_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(SettingInvalid, match="No such file"):
        load_config()


def test_faults_are_used_up_in_their_order() -> None:
    faults = Faults()
    faults.add(Fault(kind="http_500", next=2))
    faults.add(Fault(kind="error", code=190))
    taken = [faults.take(NUMBER, "message") for _ in range(4)]
    assert [fault.kind if fault else None for fault in taken] == ["http_500", "http_500", "error", None]


def test_a_fault_waits_for_its_own_kind_of_call_and_number() -> None:
    faults = Faults()
    faults.add(Fault(kind="reset", phone_number_id=OTHER_NUMBER, operation="read"))
    assert faults.take(OTHER_NUMBER, "message") is None
    assert faults.take(NUMBER, "read") is None
    found = faults.take(OTHER_NUMBER, "read")
    assert found is not None
    assert found.kind == "reset"


def test_clearing_faults_tells_how_many_calls_they_would_have_hit() -> None:
    faults = Faults()
    faults.add(Fault(kind="timeout", next=3))
    faults.take(NUMBER, "message")
    assert faults.clear() == 2
    assert faults.take(NUMBER, "message") is None


async def test_a_page_that_comes_back_gets_what_it_missed() -> None:
    stream = EventStream()
    before = stream.last_id
    stream.publish(PRIYA, "message", lambda: {"text": "one"})
    stream.publish("another", "message", lambda: {"text": "not hers"})
    stream.publish(PRIYA, "message", lambda: {"text": "two"})
    page = stream.stream(PRIYA, before)
    chunks = await take(page, 3)
    assert chunks[0].startswith(b"retry:")
    assert frames(chunks) == [("message", {"text": "one"}), ("message", {"text": "two"})]
    stream.publish(PRIYA, "typing", lambda: {"until": 1})
    assert frames(await take(page, 1)) == [("typing", {"until": 1})]
    await page.aclose()


@pytest.mark.parametrize("after", ["gone-3", "nonsense", "-"])
async def test_a_page_of_another_life_of_the_server_reads_everything_again(after: str) -> None:
    stream = EventStream()
    stream.publish(PRIYA, "message", dict)
    page = stream.stream(PRIYA, after)
    assert frames(await take(page, 2)) == [("reset", {})]
    await page.aclose()


async def test_a_page_that_missed_too_much_reads_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "EVENTS_KEPT_MAX", 3)
    stream = EventStream()
    before = stream.last_id
    for _ in range(4):
        stream.publish(PRIYA, "message", dict)
    page = stream.stream(PRIYA, before)
    assert frames(await take(page, 2)) == [("reset", {})]
    await page.aclose()


async def test_a_page_that_does_not_read_is_told_to_start_over() -> None:
    stream = EventStream()
    page = stream.stream(PRIYA, None)
    await take(page, 1)
    for _ in range(events_module.WATCHER_EVENTS_MAX + 1):
        stream.publish(PRIYA, "message", dict)
    assert frames(await take(page, 1)) == [("reset", {})]
    await page.aclose()


async def test_too_many_open_pages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "WATCHERS_MAX", 1)
    stream = EventStream()
    first = stream.stream(PRIYA, None)
    await take(first, 1)
    with pytest.raises(Overloaded):
        await take(stream.stream(PRIYA, None), 1)
    await first.aclose()
    again = stream.stream(PRIYA, None)
    await take(again, 1)
    await again.aclose()


def test_a_media_url_ends_after_five_minutes() -> None:
    store = MediaStore()
    file = store.add(phone_number_id=NUMBER, kind="image", mime="image/png", name=None, body=b"x")
    query = store.url_query(file.id, now_s=1000.0)
    assert store.by_url(query, now_s=1000.0 + URL_LIFE_S - 1) == file
    assert store.by_url(query, now_s=1000.0 + URL_LIFE_S) is None
    assert store.by_url({**query, "ext": "9999999999"}, now_s=1000.0) is None
    assert store.by_url({}, now_s=1000.0) is None


def test_the_oldest_file_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.emulator.media.TOTAL_BYTES_MAX", 10)
    store = MediaStore()
    first, second = (
        store.add(phone_number_id=NUMBER, kind="image", mime="image/png", name=None, body=b"123456") for _ in range(2)
    )
    assert store.find(first.id) is None
    assert store.find(second.id) == second


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_webhook_survives_its_escaping(text: str) -> None:
    body = body_bytes({"text": text})
    assert body.isascii()
    assert json.loads(body) == {"text": text}


def test_message_ids_never_repeat() -> None:
    ids = {new_wamid(PRIYA, direction) for direction in ("inbound", "outbound") for _ in range(500)}
    assert len(ids) == 1000
