import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.events import EVENT, Identity, MessageReceived, ProviderFault, StatusChanged, Unknown
from channels.whatsapp import normalise
from core.errors import RequestInvalid
from tests.channels.conformance import fixture_bodies
from tests.channels.whatsapp.recorded import (
    ASHA,
    BUSINESS_ID,
    MEERA,
    NUMBER_ID,
    OURS,
    at,
    events,
    only_event,
    payload,
    value_of,
    wamid,
)

BODIES = fixture_bodies("whatsapp")
OUR_KEY = "t_01k9y3m2q4r5s6t7v8w9x0y1z2:run_01k9y3:reply/0"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a JSON value, the whole of it left out."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, part in below for path in [(*here, key), *paths(part, (*here, key))]]


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """The value with another part at `path`."""
    copy = json.loads(json.dumps(value))
    part = copy
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = new
    return copy


def test_one_post_with_two_tenants_keeps_every_message_in_order() -> None:
    routed = normalise(BODIES["batch"])
    assert [(one.external_account_id, one.event.event_key) for one in routed] == [
        (number_id, f"message:wamid.BATCH{tag}{i}==")
        for number_id, tag in (
            ("106540352242922", "A"),
            ("106540352242922", "B"),
            ("206540352242923", "C"),
            ("306540352242924", "D"),
        )
        for i in range(3)
    ]
    names = [one.event.sender.name for one in routed if isinstance(one.event, MessageReceived)]
    assert names == ["Asha Menon"] * 3 + ["Ravi Kumar"] * 3 + ["Fatima"] * 3 + ["John"] * 3


def test_messages_gathered_under_one_change_keep_their_keys() -> None:
    gathered = payload("text")
    apart: list[str] = []
    for name in (
        "text",
        "image",
        "reaction",
        "text_two_contacts_in_other_order",
        "order",
        "text_with_number_and_user_id",
    ):
        apart += [event.event_key for event in events(payload(name))]
        value = value_of(payload(name))
        value_of(gathered)["contacts"] += value["contacts"]
        value_of(gathered)["messages"] += value["messages"]
    del value_of(gathered)["messages"][0]
    assert [event.event_key for event in events(gathered)] == apart


def test_statuses_and_messages_of_one_change_come_in_the_order_of_the_body() -> None:
    [status, message] = events(payload("messages_and_statuses"))
    assert isinstance(status, StatusChanged)
    assert isinstance(message, MessageReceived)
    assert (status.status, message.text) == ("read", "Thank you")


@pytest.mark.parametrize(
    ("name", "second", "status"),
    [("status_sent", 80, "sent"), ("status_delivered", 81, "delivered"), ("status_read", 82, "read")],
)
def test_a_status_names_our_message_and_our_key(name: str, second: int, status: str) -> None:
    assert only_event(name) == StatusChanged.model_validate(
        {
            "event_key": f"status:{OURS}:{status}:919845012345",
            "provider_ts": at(second),
            "provider_message_id": OURS,
            "status": status,
            "recipient": {"kind": "wa_id", "value": "919845012345"},
            "correlation": OUR_KEY,
        }
    )


def test_a_played_voice_note_is_read() -> None:
    event = only_event("status_played")
    assert isinstance(event, StatusChanged)
    assert event.status == "read"


def test_a_failure_carries_what_whatsapp_said_and_what_helps() -> None:
    event = only_event("status_failed")
    assert isinstance(event, StatusChanged)
    assert (event.status, event.correlation) == ("failed", OUR_KEY)
    assert event.faults == (
        ProviderFault(
            code="131047",
            title="Re-engagement message",
            detail="Message failed to send because more than 24 hours have passed since the customer last replied to "
            "this number.",
            remedy="person",
        ),
    )


def test_every_fault_of_a_failure_is_kept() -> None:
    event = only_event("status_failed_of_locked_account")
    assert isinstance(event, StatusChanged)
    assert [(fault.code, fault.title, fault.detail, fault.remedy) for fault in event.faults] == [
        ("131031", "Business Account locked", None, "stop"),
        ("999999", "Something new", None, "person"),
    ]


def test_a_status_may_name_its_recipient_by_user_id_alone() -> None:
    event = only_event("status_of_user_id")
    assert isinstance(event, StatusChanged)
    assert (event.recipient, event.correlation) == (MEERA, None)


def test_a_user_id_in_place_of_the_recipients_number_is_a_user_id() -> None:
    envelope = payload("status_sent")
    value_of(envelope)["statuses"][0]["recipient_id"] = MEERA.value
    [event] = events(envelope)
    assert isinstance(event, StatusChanged)
    assert event.recipient == Identity(kind="bsuid", value=MEERA.value)


def test_a_status_may_name_no_recipient() -> None:
    event = only_event("status_without_recipient")
    assert isinstance(event, StatusChanged)
    assert (event.recipient, event.event_key) == (None, f"status:{OURS}:sent:")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("contacts", "messages/contacts"),
        ("echo_edit", "smb_message_echoes/edit"),
        ("echo_revoke", "smb_message_echoes/revoke"),
        ("errors_of_a_value", "errors"),
        ("field_of_the_future", "holograms"),
        ("flow_reply", "messages/interactive/nfm_reply"),
        ("group_text", "messages/group"),
        ("history", "history"),
        ("location", "messages/location"),
        ("order", "messages/order"),
        ("status_deleted", "statuses/deleted"),
        ("status_of_payment", "statuses/payment"),
        ("system_number_changed", "messages/system"),
        ("system_user_id_changed", "messages/system"),
        ("type_of_the_future", "messages/hologram"),
    ],
)
def test_what_there_is_no_word_for_is_kept_under_a_label(name: str, label: str) -> None:
    event = only_event(name)
    assert isinstance(event, Unknown)
    assert event.label == label
    assert event.event_key.startswith("unknown:")


def test_an_unknown_message_keeps_its_time() -> None:
    assert only_event("order").provider_ts == at(54)


@pytest.mark.parametrize("name", ["message_template_status_update", "account_update"])
def test_what_concerns_no_number_belongs_to_the_business_account(name: str) -> None:
    [routed] = normalise(BODIES[name])
    assert routed.external_account_id == BUSINESS_ID
    assert isinstance(routed.event, Unknown)
    assert routed.event.label == name


def test_the_same_change_at_another_time_is_another_event() -> None:
    envelope = payload("account_update")
    [first] = events(envelope)
    envelope["entry"][0]["time"] += 60
    [second] = events(envelope)
    assert first.event_key != second.event_key


def test_one_bad_message_harms_no_neighbour() -> None:
    [before, bad, no_object, after] = events(payload("one_bad_message_between_good_ones"))
    assert isinstance(before, MessageReceived)
    assert isinstance(after, MessageReceived)
    assert (before.text, after.text) == ("before", "after")
    assert isinstance(bad, Unknown)
    assert isinstance(no_object, Unknown)
    assert (bad.label, bad.provider_ts, no_object.label) == ("messages/text/invalid", at(121), "messages/invalid")


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        (None, "entry"),
        ({}, "entry"),
        ({"id": "1", "changes": {}}, "entry"),
        ({"id": "1", "changes": [None]}, "change"),
        ({"id": "1", "changes": [{"field": 5, "value": {}}]}, "change"),
        ({"id": "1", "changes": [{"field": "messages"}]}, "messages"),
        ({"id": "1", "changes": [{"field": "messages", "value": {}}]}, "messages"),
        ({"id": "1", "changes": [{"field": "messages", "value": {"messages": {}}}]}, "messages"),
        ({"id": "1", "changes": [{"field": "f" * 300, "value": {}}]}, "f" * 256),
    ],
)
def test_a_part_of_another_shape_is_kept_as_unknown(entry: Any, label: str) -> None:
    [event] = events({"object": "whatsapp_business_account", "entry": [entry]})
    assert isinstance(event, Unknown)
    assert event.label == label


@pytest.mark.parametrize(
    "envelope",
    [
        {"object": "page", "entry": []},
        {"object": "whatsapp_business_account"},
        {"object": "whatsapp_business_account", "entry": {}},
        {"entry": []},
        [],
    ],
)
def test_what_is_not_whatsapps_envelope_is_invalid(envelope: Any) -> None:
    with pytest.raises(RequestInvalid):
        normalise(json.dumps(envelope).encode())


def test_an_envelope_without_entries_has_no_events() -> None:
    assert normalise(b'{"object": "whatsapp_business_account", "entry": []}') == []


def test_an_id_too_long_for_a_key_is_kept_as_unknown() -> None:
    envelope = payload("text")
    value_of(envelope)["messages"][0]["id"] = "w" * 241
    value_of(envelope)["metadata"]["phone_number_id"] = "9" * 241
    [routed] = normalise(json.dumps(envelope).encode())
    assert isinstance(routed.event, Unknown)
    assert routed.external_account_id == BUSINESS_ID


def test_the_longest_ids_make_a_key_that_fits() -> None:
    envelope = payload("status_delivered")
    status = value_of(envelope)["statuses"][0]
    status["id"], status["recipient_id"] = "w" * 240, "9" * 240
    [event] = events(envelope)
    assert isinstance(event, StatusChanged)
    assert len(event.event_key) <= 512


def test_what_a_stranger_wrote_is_scrubbed_once() -> None:
    body = BODIES["text"].replace(b"Can I get", rb"nul \u0000 lone \ud83d pair \ud83d\ude4f Can I get")
    body = body.replace(b"Asha Menon", rb"Asha\u0000")
    [routed] = normalise(body)
    assert isinstance(routed.event, MessageReceived)
    assert (routed.event.text or "").startswith("nul \ufffd lone \ufffd pair 🙏 Can I get")
    assert routed.event.sender == ASHA.model_copy(update={"name": "Asha\ufffd"})


def test_nesting_inside_a_message_is_refused_beyond_what_can_be_read() -> None:
    for levels, brackets in ((500, b"[" * 500 + b"]" * 500), (100_000, b"[" * 100_000 + b"]" * 100_000)):
        body = BODIES["text"].replace(b'"type": "text"', b'"type": "text", "deep": ' + brackets)
        assert body.count(b"[") > levels
        with pytest.raises(RequestInvalid):
            normalise(body)


def test_nesting_that_can_be_read_does_no_harm() -> None:
    for name in ("text", "order"):
        body = BODIES[name].replace(b'"id": "wamid', b'"deep": ' + b"[" * 150 + b"]" * 150 + b', "id": "wamid')
        [routed] = normalise(body)
        assert routed.external_account_id == NUMBER_ID


def test_a_thousand_updates_in_one_post_are_a_thousand_events() -> None:
    envelope = payload("text")
    [message] = value_of(envelope)["messages"]
    value_of(envelope)["messages"] = [{**message, "id": wamid(f"{i:04}")} for i in range(1000)]
    assert [event.event_key for event in events(envelope)] == [f"message:{wamid(f'{i:04}')}" for i in range(1000)]


@given(st.sampled_from(sorted(BODIES)), JSON, st.data())
@settings(max_examples=300, deadline=None)
def test_any_part_may_be_anything(name: str, new: Any, data: st.DataObject) -> None:
    envelope = json.loads(BODIES[name])
    body = json.dumps(replaced(envelope, data.draw(st.sampled_from(paths(envelope))), new)).encode()
    try:
        routed = normalise(body)
    except RequestInvalid:
        return
    assert routed == normalise(body)
    for one in routed:
        assert EVENT.validate_json(EVENT.dump_json(one.event)) == one.event
