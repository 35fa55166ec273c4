import pytest

from channels.events import (
    Identity,
    Media,
    MessageEchoed,
    MessageEdited,
    MessageReceived,
    MessageRevoked,
    Person,
    ProviderFault,
    ReactionChanged,
    Unknown,
)
from tests.channels.whatsapp.recorded import ASHA, MEERA, OURS, at, events, only_event, payload, value_of, wamid

ASHA_BY_NUMBER = ASHA.identities[0]
NOT_SUPPORTED = ProviderFault(
    code="131051",
    title="Message type unknown",
    detail="Message type is currently not supported.",
    remedy="person",
)


def test_a_text_is_received_whole() -> None:
    assert only_event("text") == MessageReceived(
        event_key=f"message:{wamid('TEXT')}",
        provider_ts=at(0),
        provider_message_id=wamid("TEXT"),
        sender=ASHA,
        message_kind="text",
        text="Can I get a tax receipt for my donation? 🙏",
    )


def test_a_reply_names_the_message_it_answers() -> None:
    event = only_event("text_reply")
    assert isinstance(event, MessageReceived)
    assert (event.reply_to, event.text, event.forwarded) == (OURS, "Yes, for last year too", False)


@pytest.mark.parametrize("name", ["text_forwarded", "text_forwarded_often", "video"])
def test_a_message_passed_on_is_forwarded(name: str) -> None:
    event = only_event(name)
    assert isinstance(event, MessageReceived)
    assert (event.forwarded, event.reply_to) == (True, None)


def test_a_message_from_an_advertisement_is_a_text() -> None:
    event = only_event("text_from_advertisement")
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.text) == ("text", "Tell me more")


@pytest.mark.parametrize(
    ("name", "kind", "text", "media"),
    [
        (
            "image",
            "image",
            "Bank slip",
            Media(
                provider_media_id="1479537139650973",
                mime="image/jpeg",
                sha256="u4bA0dFvQ8Ck3tX1mZ7yJpS9hN2wLrE6aGcBvKqTfXo=",
            ),
        ),
        (
            "audio",
            "audio",
            None,
            Media(
                provider_media_id="1479537139650974",
                mime="audio/mpeg",
                sha256="Zq3tX1mZ7yJpS9hN2wLrE6aGcBvKqTfXou4bA0dFvQ8=",
            ),
        ),
        (
            "voice_note",
            "audio",
            None,
            Media(
                provider_media_id="1479537139650975",
                mime="audio/ogg; codecs=opus",
                sha256="Ck3tX1mZ7yJpS9hN2wLrE6aGcBvKqTfXou4bA0dFvQ8=",
                voice=True,
            ),
        ),
        (
            "video",
            "video",
            "Our street after the rain",
            Media(
                provider_media_id="1479537139650976",
                mime="video/mp4",
                sha256="E6aGcBvKqTfXou4bA0dFvQ8Ck3tX1mZ7yJpS9hN2wLr=",
            ),
        ),
        (
            "document",
            "document",
            "80G form",
            Media(
                provider_media_id="1479537139650977",
                mime="application/pdf",
                sha256="hN2wLrE6aGcBvKqTfXou4bA0dFvQ8Ck3tX1mZ7yJpS9=",
                name="form-10BE.pdf",
            ),
        ),
        (
            "sticker",
            "sticker",
            None,
            Media(
                provider_media_id="1479537139650978",
                mime="image/webp",
                sha256="tX1mZ7yJpS9hN2wLrE6aGcBvKqTfXou4bA0dFvQ8Ck3=",
            ),
        ),
    ],
)
def test_a_file_is_received_by_reference(name: str, kind: str, text: str | None, media: Media) -> None:
    event = only_event(name)
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.text, event.media) == (kind, text, (media,))


def test_a_reaction_names_its_message_and_emoji() -> None:
    assert only_event("reaction") == ReactionChanged(
        event_key=f"message:{wamid('RCT1')}",
        provider_ts=at(20),
        sender=ASHA,
        target_message_id=OURS,
        emoji="🙏🏽",
    )


@pytest.mark.parametrize("name", ["reaction_removed_with_empty_emoji", "reaction_removed_without_emoji"])
def test_a_removed_reaction_has_no_emoji(name: str) -> None:
    event = only_event(name)
    assert isinstance(event, ReactionChanged)
    assert (event.target_message_id, event.emoji) == (OURS, None)


@pytest.mark.parametrize(
    ("name", "kind", "text", "chosen", "reply_to"),
    [
        ("button_reply", "interactive", "FY 2025-26", "receipt:fy2025", OURS),
        ("list_reply", "interactive", "Chennai", "centre:chennai", OURS),
        ("template_button", "postback", "Yes, I will come", "volunteer:yes", OURS),
        ("template_button_without_context", "postback", "Stop", "stop", None),
    ],
)
def test_a_choice_carries_its_title_and_payload(
    name: str, kind: str, text: str, chosen: str, reply_to: str | None
) -> None:
    event = only_event(name)
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.text, event.payload, event.reply_to) == (kind, text, chosen, reply_to)


@pytest.mark.parametrize("name", ["unsupported", "interactive_bare"])
def test_a_message_that_whatsapp_does_not_hand_over_is_unsupported(name: str) -> None:
    event = only_event(name)
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.text, event.faults) == ("unsupported", None, (NOT_SUPPORTED,))
    assert event.sender.identities == (ASHA_BY_NUMBER,)


def test_an_interactive_message_may_be_bare_without_a_reason() -> None:
    envelope = payload("interactive_bare")
    del value_of(envelope)["messages"][0]["errors"]
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.faults) == ("unsupported", ())


def test_an_image_that_could_not_be_fetched_says_why() -> None:
    event = only_event("image_that_could_not_be_fetched")
    assert isinstance(event, MessageReceived)
    assert (event.message_kind, event.media) == ("unsupported", ())
    assert [fault.code for fault in event.faults] == ["131052"]


def test_an_edited_text_names_the_original() -> None:
    assert only_event("edit_text") == MessageEdited(
        event_key=f"message:{wamid('EDT1')}",
        provider_ts=at(40),
        sender=ASHA,
        target_message_id=wamid("TEXT"),
        text="Can I get a tax receipt for both donations?",
    )


@pytest.mark.parametrize(
    ("name", "caption"),
    [("edit_caption", "Bank slip of March"), ("edit_caption_without_media_id", "Our street today")],
)
def test_an_edited_caption_is_the_text(name: str, caption: str) -> None:
    event = only_event(name)
    assert isinstance(event, MessageEdited)
    assert event.text == caption


def test_a_revoked_message_is_named() -> None:
    assert only_event("revoke") == MessageRevoked(
        event_key=f"message:{wamid('RVK1')}",
        provider_ts=at(43),
        sender=ASHA,
        target_message_id=wamid("TEXT"),
    )


def test_a_person_may_be_known_by_user_id_alone() -> None:
    event = only_event("text_from_user_id_only")
    assert isinstance(event, MessageReceived)
    assert event.sender == Person(identities=(MEERA,), name="Meera", username="meera.chennai")


def test_a_user_id_in_place_of_a_number_is_still_a_user_id() -> None:
    event = only_event("text_with_user_id_in_from")
    assert isinstance(event, MessageReceived)
    assert event.sender == Person(identities=(MEERA,), name="Meera")


def test_a_number_is_answered_first_and_the_user_id_is_an_alias() -> None:
    event = only_event("text_with_number_and_user_id")
    assert isinstance(event, MessageReceived)
    assert event.sender.identities == (ASHA_BY_NUMBER, Identity(kind="bsuid", value="IN.77491208655302741918"))
    assert event.sender.username == "asha"


def test_a_number_that_only_the_contact_knows_stands_first() -> None:
    envelope = payload("text_from_user_id_only")
    value_of(envelope)["contacts"][0]["wa_id"] = "919500011111"
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.sender.identities == (Identity(kind="wa_id", value="919500011111"), MEERA)


def test_the_only_contact_is_the_sender_of_a_message_without_ids() -> None:
    event = only_event("text_without_any_sender_id")
    assert isinstance(event, MessageReceived)
    assert event.sender.identities == (MEERA,)


def test_a_message_without_ids_among_several_contacts_is_kept_as_unknown() -> None:
    envelope = payload("text_without_any_sender_id")
    value_of(envelope)["contacts"].append({"profile": {"name": "Ravi Kumar"}, "wa_id": "919845099999"})
    [event] = events(envelope)
    assert isinstance(event, Unknown)
    assert event.label == "messages/text/invalid"


def test_an_empty_number_is_no_number() -> None:
    envelope = payload("text_from_user_id_only")
    value_of(envelope)["contacts"][0]["wa_id"] = ""
    value_of(envelope)["messages"][0]["from"] = ""
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.sender.identities == (MEERA,)


def test_contacts_are_matched_by_id_and_not_by_place() -> None:
    received = events(payload("text_two_contacts_in_other_order"))
    names = [event.sender.name for event in received if isinstance(event, MessageReceived)]
    assert names == ["Asha Menon", "Ravi Kumar"]


def test_a_contact_of_somebody_else_lends_no_name() -> None:
    envelope = payload("text")
    value_of(envelope)["contacts"] = [{"profile": {"name": "Ravi Kumar"}, "wa_id": "919845099999"}]
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.sender == Person(identities=(ASHA_BY_NUMBER,))


def test_a_message_needs_no_contacts() -> None:
    envelope = payload("text")
    del value_of(envelope)["contacts"]
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.sender.identities == (ASHA_BY_NUMBER,)


def test_a_contact_that_cannot_be_read_costs_only_its_name() -> None:
    envelope = payload("text")
    value_of(envelope)["contacts"] = [None, {"profile": "Asha", "wa_id": "919845012345"}]
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.sender == Person(identities=(ASHA_BY_NUMBER,))


def test_what_the_organisation_wrote_in_the_app_is_an_echo() -> None:
    echo_id = "wamid.HBgMOTE5ODQ1MDEyMzQ1FQIAERgSQECH1AA=="
    assert only_event("echo_text") == MessageEchoed(
        event_key=f"message:{echo_id}",
        provider_ts=at(70),
        provider_message_id=echo_id,
        recipient=Person(
            identities=(ASHA_BY_NUMBER, Identity(kind="bsuid", value="IN.77491208655302741918")), name="Asha Menon"
        ),
        message_kind="text",
        text="Lakshmi here, your receipt is on its way",
    )


def test_an_echoed_file_comes_by_reference() -> None:
    event = only_event("echo_image")
    assert isinstance(event, MessageEchoed)
    assert (event.message_kind, event.text) == ("image", "Receipt")
    assert [media.provider_media_id for media in event.media] == ["1479537139650990"]


def test_an_echo_whose_content_we_do_not_read_still_tells_that_a_person_wrote() -> None:
    event = only_event("echo_location")
    assert isinstance(event, MessageEchoed)
    assert (event.message_kind, event.text, event.media) == ("location", None, ())


def test_an_echo_may_name_its_recipient_by_user_id_alone() -> None:
    envelope = payload("echo_text")
    [echo] = value_of(envelope)["message_echoes"]
    del echo["to"], value_of(envelope)["contacts"]
    echo["to_user_id"] = MEERA.value
    [event] = events(envelope)
    assert isinstance(event, MessageEchoed)
    assert event.recipient == Person(identities=(MEERA,))


@pytest.mark.parametrize("timestamp", ["", "yesterday", "-1", "1763618400000", "１７６３", "9" * 5000, None, 1.5])
def test_a_bad_clock_costs_no_message(timestamp: object) -> None:
    envelope = payload("text")
    value_of(envelope)["messages"][0]["timestamp"] = timestamp
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert event.provider_ts is None


def test_ids_and_times_written_as_numbers_are_read_as_text() -> None:
    envelope = payload("text")
    message = value_of(envelope)["messages"][0]
    message["from"], message["timestamp"], message["id"] = 919845012345, 1763618400, 98765432109876543210987
    value_of(envelope)["metadata"]["phone_number_id"] = 106540352242922
    [event] = events(envelope)
    assert isinstance(event, MessageReceived)
    assert (event.provider_message_id, event.provider_ts) == ("98765432109876543210987", at(0))
    assert event.sender == ASHA
