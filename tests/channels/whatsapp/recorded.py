"""The recorded payloads of WhatsApp, and the people in them."""

import json
from datetime import UTC, datetime
from typing import Any

from channels.events import Event, Identity, Person
from channels.whatsapp import normalise
from tests.channels.conformance import FIXTURES

NUMBER_ID = "106540352242922"
BUSINESS_ID = "102290129340398"
OURS = "wamid.HBgMOTE5ODQ1MDEyMzQ1FQIAERgSC4F2A90B1D7E654AA=="
ASHA = Person(identities=(Identity(kind="wa_id", value="919845012345"),), name="Asha Menon")
MEERA = Identity(kind="bsuid", value="IN.13491208655302741918")


def wamid(tag: str) -> str:
    """The id of the recorded message with this tag."""
    return f"wamid.HBgMOTE5ODQ1MDEyMzQ1FQIAEhgUM0E{tag}AA=="


def at(second: int) -> datetime:
    """The recordings begin on 20 November 2025 at 06:00 UTC; `second` counts from there."""
    return datetime.fromtimestamp(1763618400 + second, UTC)


def payload(name: str) -> dict[str, Any]:
    """One recording, to be changed by a test."""
    return json.loads((FIXTURES / "whatsapp" / f"{name}.json").read_bytes())


def value_of(envelope: dict[str, Any]) -> dict[str, Any]:
    """The value of its first change."""
    return envelope["entry"][0]["changes"][0]["value"]


def events(envelope: dict[str, Any]) -> list[Event]:
    """What a payload becomes."""
    return [routed.event for routed in normalise(json.dumps(envelope).encode())]


def only_event(name: str) -> Event:
    """The one event of a recording, which belongs to the number it names."""
    [routed] = normalise((FIXTURES / "whatsapp" / f"{name}.json").read_bytes())
    assert routed.external_account_id == NUMBER_ID
    return routed.event
