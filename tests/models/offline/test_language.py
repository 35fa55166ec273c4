import pytest

from models.offline.language import language_of, one_spelling


@pytest.mark.parametrize(
    ("text", "default", "language"),
    [
        ("Can I get a receipt?", "en", "en"),
        ("Can I get a receipt?", "hi", "en"),
        ("Puis-je avoir un reçu ?", "fr", "fr"),
        ("मुझे रसीद चाहिए", "en", "hi"),
        ("मुझे रसीद चाहिए", "mr", "mr"),
        ("मुझे receipt चाहिए", "en", "hi"),
        ("ரசீது வேண்டும்", "en", "ta"),
        ("రసీదు", "en", "te"),
        ("ರಸೀದಿ", "en", "kn"),
        ("രസീത്", "en", "ml"),
        ("রসিদ", "en", "bn"),
        ("રસીદ", "en", "gu"),
        ("ਰਸੀਦ", "en", "pa"),
        ("ରସିଦ", "en", "or"),
        ("80 G ???", "ta", "en"),
        ("12345 🙏", "ta", "ta"),
        ("", "hi", "hi"),
        ("My name is आशा and I gave five hundred rupees", "en", "en"),
    ],
)
def test_the_script_decides_the_language(text: str, default: str, language: str) -> None:
    assert language_of(text, default=default) == language


@pytest.mark.parametrize(
    ("typed", "written"), [("मुफ्त", "मुफ़्त"), ("जरूरी", "ज़रूरी"), ("कहां", "कहाँ"), ("फोन", "\u095eोन"), ("pay", "pay")]
)
def test_what_people_leave_out_on_a_phone_makes_no_difference(typed: str, written: str) -> None:
    assert one_spelling(written) == one_spelling(typed) == typed
