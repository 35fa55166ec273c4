"""The demo content is complete, agrees with itself, and a mistake in it is named."""

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from channels.events import Identity
from core.errors import NotFound
from sandbox.demo import content
from sandbox.demo.content import (
    FIRST_PARAGRAPH_CHARS_MAX,
    HAND_OFF,
    ContentInvalid,
    DemoArticle,
    demo_slugs,
    load_articles,
    load_customers,
    load_profile,
    load_questions,
)

SLUGS = ["asha", "nagar"]
SCRIPTS = {"hi": re.compile("[\u0900-\u097f]"), "ta": re.compile("[\u0b80-\u0bff]")}
PHONE = re.compile(r"\+91[ \d]+\d")
EMAIL = re.compile(r"[\w.]+@[\w-]+\.example")


@pytest.fixture
def a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The whole demo content in a folder where it may be spoilt."""
    root = tmp_path / "demo"
    shutil.copytree(Path(content.__file__).parent, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(content, "_ROOT", root)
    return root


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def text_of(article: DemoArticle) -> str:
    return "\n".join((article.title, *article.questions, article.body))


def test_there_are_two_organisations() -> None:
    assert demo_slugs() == SLUGS


def test_asha_has_at_least_forty_articles_and_nagar_at_least_eight() -> None:
    assert len(load_articles("asha")) >= 40
    assert len(load_articles("nagar")) >= 8


@pytest.mark.parametrize("slug", SLUGS)
def test_ids_and_titles_are_unique(slug: str) -> None:
    articles = load_articles(slug)
    assert len({article.id for article in articles}) == len(articles)
    assert len({article.title for article in articles}) == len(articles)


@pytest.mark.parametrize("slug", SLUGS)
def test_the_first_paragraph_of_every_article_can_be_quoted(slug: str) -> None:
    for article in load_articles(slug):
        assert 0 < len(article.first_paragraph) <= FIRST_PARAGRAPH_CHARS_MAX, article.id
        assert "\n" not in article.first_paragraph, article.id


@pytest.mark.parametrize("slug", SLUGS)
def test_every_article_has_a_readable_length_and_no_markup(slug: str) -> None:
    for article in load_articles(slug):
        assert 80 <= len(article.body.split()) <= 220, article.id
        assert not re.search(r"^\s*[-*#>]|\*\*|\]\(|\n\n\n|  ", article.body, re.MULTILINE), article.id


@pytest.mark.parametrize("slug", SLUGS)
def test_no_question_stands_in_two_articles(slug: str) -> None:
    questions = [question.casefold() for article in load_articles(slug) for question in article.questions]
    assert len(questions) == len(set(questions))


def test_asha_speaks_hindi_and_tamil_in_their_own_scripts() -> None:
    by_language = {language: [a for a in load_articles("asha") if a.language == language] for language in ("hi", "ta")}
    assert len(by_language["hi"]) >= 3
    assert len(by_language["ta"]) >= 2
    for language, articles in by_language.items():
        for article in articles:
            assert SCRIPTS[language].search(article.title), article.id
            assert all(SCRIPTS[language].search(question) for question in article.questions), article.id


def test_the_tax_receipt_article_is_recognisable_and_dated() -> None:
    article = next(a for a in load_articles("asha") if a.id == "tax-receipt-80g")
    assert article.title == "Tax receipts for donations (80G)"
    assert "Can I get a tax receipt for my donation?" in article.questions
    assert isinstance(article.updated, date)


def test_every_city_has_an_office_with_address_and_telephone() -> None:
    offices = {a.id.removeprefix("office-"): a for a in load_articles("asha") if {"offices", "contact"} <= set(a.tags)}
    assert set(offices) == {
        "delhi", "mumbai", "pune", "bengaluru", "chennai", "kolkata", "hyderabad", "lucknow",
    }  # fmt: skip
    for city, article in offices.items():
        assert re.search(r"\b\d{6}\b", article.first_paragraph), city
        assert PHONE.search(article.first_paragraph), city
        assert "Monday to Friday 9:30 am to 6:00 pm" in article.first_paragraph, city


def test_the_organisations_share_no_telephone_and_no_mail_address() -> None:
    contacts = {
        slug: {hit for a in load_articles(slug) for hit in (*PHONE.findall(a.body), *EMAIL.findall(a.body))}
        for slug in SLUGS
    }
    assert contacts["asha"]
    assert contacts["nagar"]
    assert not contacts["asha"] & contacts["nagar"]


def test_translated_articles_give_only_telephones_that_english_ones_give() -> None:
    phones = {"en": set[str](), "other": set[str]()}
    for article in load_articles("asha"):
        phones["en" if article.language == "en" else "other"].update(PHONE.findall(article.body))
    assert phones["other"] <= phones["en"]


@pytest.mark.parametrize("slug", SLUGS)
def test_no_article_holds_what_looks_like_an_aadhaar_number(slug: str) -> None:
    for article in load_articles(slug):
        assert not re.search(r"(?<!\d)\d{4}[ -]?\d{4}[ -]?\d{4}(?!\d)", PHONE.sub("", text_of(article))), article.id


@pytest.mark.parametrize("slug", SLUGS)
def test_the_hand_off_promises_a_person_within_the_office_hours(slug: str) -> None:
    profile = load_profile(slug)
    assert profile.slug == slug
    assert profile.time_zone == "Asia/Kolkata"
    assert set(profile.hand_off) == set(profile.greeting) == set(profile.languages)
    assert "a person will reply" in profile.hand_off["en"]
    for hours in profile.office_hours:
        assert hours.opens < hours.closes
        hour, minute = hours.closes.split(":")
        assert f"{int(hour) % 12}:{minute} pm" in profile.hand_off["en"]


def test_asha_is_greeted_in_every_language_of_its_articles() -> None:
    assert {article.language for article in load_articles("asha")} == set(load_profile("asha").languages)


def test_six_customers_of_whom_one_is_known_by_bsuid_alone() -> None:
    customers = load_customers()
    assert len(customers) == 6
    nameless = [customer for customer in customers if customer.wa_id is None]
    assert [(customer.bsuid, customer.username) for customer in nameless] == [
        ("IN.13491208655302741918", "farah.writes")
    ]
    for customer in customers:
        kind = "wa_id" if customer.wa_id else "bsuid"
        identity = TypeAdapter(Identity).validate_python({"kind": kind, "value": customer.wa_id or customer.bsuid})
        assert identity.value


def test_the_questions_cover_answers_hand_offs_and_three_languages() -> None:
    questions = load_questions("asha")
    answers = {one.question: one.answer for one in questions}
    assert len(questions) >= 30
    assert answers["Can I get a tax receipt for my donation?"] == "tax-receipt-80g"
    assert answers["What is the meaning of life?"] == HAND_OFF
    assert {one.language for one in questions} == {"en", "hi", "ta"}


def test_all_questions_but_the_first_are_held_out_of_the_articles() -> None:
    known = {question.casefold() for article in load_articles("asha") for question in article.questions}
    assert [one.question for one in load_questions("asha") if one.question.casefold() in known] == [
        "Can I get a tax receipt for my donation?"
    ]


def test_an_unknown_organisation_is_named_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"'\.\./asha'.*asha, nagar"):
        load_articles("../asha")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id: office-pune\n", "id: office-poona\n", "office-pune.md: id is 'office-poona'"),
        ("language: en\n", "language: fr\n", "office-pune.md: language: Input should be 'en', 'hi' or 'ta'"),
        ("title: Pune office\n", "", "office-pune.md: title: Field required"),
        ("title: Pune office\n", "titel: Pune office\ntitle: Pune office\n", "titel: Unexpected keyword argument"),
        ("updated: 2026-09-14\n", "updated: soon\n", "updated: Input should be a valid date"),
        ("title: Pune office\n", "title: 'Pune office\n", "office-pune.md is not valid YAML"),
        ("---\nid:", "id:", "office-pune.md: no front matter"),
        ("---\n\n", "---\n\n" + "Long. " * 100, "first paragraph has .* within 500"),
    ],
)
def test_a_mistake_in_an_article_is_named(a_copy: Path, old: str, new: str, message: str) -> None:
    replace(a_copy / "asha/knowledge/office-pune.md", old, new)
    with pytest.raises(ContentInvalid, match=message):
        load_articles("asha")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slug: nagar", "slug: asha", "slug is 'asha'.*'nagar'"),
        ("languages: [en, hi]", "languages: [en]", r"greeting is in \['en', 'hi'\]"),
        ("Asia/Kolkata", "Asia/Poona", "time_zone 'Asia/Poona' is unknown"),
        ('closes: "17:00"', "closes: 17:00", r"office_hours.1.closes: .*string"),
    ],
)
def test_a_mistake_in_a_profile_is_named(a_copy: Path, old: str, new: str, message: str) -> None:
    replace(a_copy / "nagar/profile.yaml", old, new)
    with pytest.raises(ContentInvalid, match=message):
        load_profile("nagar")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('  wa_id: "919800000004"\n', "", "Arjun Mehta has neither wa_id nor bsuid"),
        ("919800000004", "919800000003", r"\['919800000003'\] occurs more than once"),
        ("talks_to: [nagar, asha]", "talks_to: [nagpur]", r"Sanjay Kulkarni talks to \['nagpur'\]"),
    ],
)
def test_a_mistake_in_the_customers_is_named(a_copy: Path, old: str, new: str, message: str) -> None:
    replace(a_copy / "customers.yaml", old, new)
    with pytest.raises(ContentInvalid, match=message):
        load_customers()


def test_a_question_that_names_a_missing_article_is_refused(a_copy: Path) -> None:
    replace(a_copy / "asha/questions.yaml", "answer: office-bengaluru", "answer: office-mysuru")
    with pytest.raises(ContentInvalid, match=r"'bangalore office adress pls' names \['office-mysuru'\]"):
        load_questions("asha")


def test_a_file_that_is_no_text_is_refused(a_copy: Path) -> None:
    (a_copy / "asha/knowledge/office-pune.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ContentInvalid, match=r"office-pune\.md cannot be read"):
        load_articles("asha")
