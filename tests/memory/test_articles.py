import pytest

from core.errors import RequestInvalid
from memory.articles import refuse_unfit
from tests.memory.conftest import an_article


def test_an_article_in_its_own_script_is_fit() -> None:
    refuse_unfit(
        [
            an_article("en"),
            an_article("hi", language="hi", title="रसीद", body="रसीद दो दिन में मिलती है।"),
            an_article("ta", language="ta", title="ரசீது", body="ரசீது இரண்டு நாட்களில் வரும்."),
            an_article("mr", language="mr", title="पावती", body="पावती दोन दिवसांत मिळते."),
            an_article("fr", language="fr", title="Reçu", body="Le reçu arrive en deux jours."),
        ]
    )


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"title": " "}, "'a': id, title or body is empty"),
        ({"body": "\n"}, "'a': id, title or body is empty"),
        ({"body": "x\0y"}, "'a': holds a NUL"),
        ({"questions": ("half \ud800",)}, "'a': holds a NUL or half of a surrogate pair"),
        ({"title": "t" * 301}, "a title 300"),
        ({"body": "word " * 20_001}, "over 100000 characters"),
        ({"questions": ("why?",) * 31}, "at most 30 questions of 300 characters"),
        ({"questions": ("w" * 301,)}, "at most 30 questions of 300 characters"),
        ({"language": "English"}, "language is 'English'"),
        ({"language": "hi"}, "'hi' is written in devanagari letters, but the body is latin"),
        ({"body": "रसीद दो दिन में मिलती है।"}, "'en' is written in latin letters, but the body is devanagari"),
    ],
)
def test_an_unfit_article_is_refused_by_its_name(fields: dict[str, object], fault: str) -> None:
    with pytest.raises(RequestInvalid) as refusal:
        refuse_unfit([an_article("fit"), an_article("a", **fields)])
    assert fault in str(refusal.value)


def test_an_article_given_twice_is_refused() -> None:
    with pytest.raises(RequestInvalid, match=r"\['a'\] are given more than once"):
        refuse_unfit([an_article("a"), an_article("b"), an_article("a")])


def test_too_many_articles_are_refused() -> None:
    with pytest.raises(RequestInvalid, match="2001 articles at once"):
        refuse_unfit([an_article(str(number)) for number in range(2_001)])
