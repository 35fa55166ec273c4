from collections.abc import Sequence

import pytest

from core.ids import TenantId, new_id
from db.pools import Database
from db.provision import create_tenant
from db.transactions import tenant_tx
from memory.articles import Article
from memory.knowledge import Passage, prepare_questions, search
from memory.publishing import publish_articles
from models.embedder import Embedder, local_embedder
from tests.conftest import Stack
from tests.memory.conftest import ReadingEmbedder, WordlessEmbedder, an_article

RECEIPTS = an_article(
    "receipts",
    title="Tax receipts",
    body="A receipt under 80G comes within two days.\n\nWithout a PAN there is none.\n\nAsk +91 98000 00001.",
    questions=("How do I get a receipt?",),
)
CAMPS = an_article("camps", title="Health camps", body="Camps are free for everyone.\n\nBring earlier prescriptions.")
HINDI = an_article("hi", language="hi", title="टैक्स रसीद 80G", body="रसीद दो दिन में मिलती है।")
MARATHI = an_article("mr", language="mr", title="पावती", body="पावती दोन दिवसांत मिळते. रसीद नाही.")
TAMIL = an_article("ta", language="ta", title="வரி ரசீது 80G", body="ரசீது இரண்டு நாட்களில் வரும்.")
FRENCH = an_article("fr", language="fr", title="Le camp de santé", body="Le camp est ouvert le dimanche.")
ALL = (RECEIPTS, CAMPS, HINDI, MARATHI, TAMIL, FRENCH)


async def found(
    database: Database, tenant: TenantId, *texts: str, embedder: Embedder, language: str = "en", limit: int = 4
) -> list[list[Passage]]:
    questions = await prepare_questions(texts, embedder)
    async with tenant_tx(database, tenant, commit="test") as connection:
        return await search(connection, questions, language=language, limit=limit)


async def ids(
    database: Database, tenant: TenantId, text: str, *, embedder: Embedder | None = None, language: str = "en"
) -> list[str]:
    [passages] = await found(database, tenant, text, embedder=embedder or WordlessEmbedder(), language=language)
    return [f"{passage.article_id}:{passage.position}" for passage in passages]


async def publish(
    database: Database, tenant: TenantId, articles: Sequence[Article] = ALL, embedder: Embedder | None = None
) -> None:
    await publish_articles(database, tenant, articles, embedder or WordlessEmbedder())


async def test_an_answer_comes_with_its_words_its_place_and_its_figures(database: Database, asha: TenantId) -> None:
    question = "Can I get a tax receipt for my donation?"
    [[first, *_]] = await found(database, asha, question, embedder=local_embedder())
    assert (first.article_id, first.position, first.language) == ("tax-receipt-80g", 0, "en")
    assert first.title == "Tax receipts for donations (80G)"
    assert first.text.startswith("Yes. Every donation of ₹100 or more gets a tax receipt under section 80G")
    assert first.vector_similarity > 0.6
    assert first.coverage == 1.0
    assert 1 < first.score <= 2
    assert first.text_score > 1


async def test_several_questions_are_answered_in_one_round_trip_each_by_itself(
    database: Database, asha: TenantId
) -> None:
    texts = ["office timings", "मुझे शिकायत करनी है", "zzzz qqqq", "how to volunteer"]
    together = await found(database, asha, *texts, embedder=local_embedder())
    alone = [(await found(database, asha, text, embedder=local_embedder()))[0] for text in texts]
    assert [[passage.chunk_id for passage in passages] for passages in together] == [
        [passage.chunk_id for passage in passages] for passages in alone
    ]
    assert [passages[0].article_id for passages in together if passages][:2] == ["office-timings", "hi-shikayat"]


async def test_no_question_finds_nothing(database: Database, tenant: TenantId) -> None:
    assert await found(database, tenant, embedder=WordlessEmbedder()) == []


async def test_an_empty_tenant_has_no_passage(database: Database, tenant: TenantId) -> None:
    assert await found(database, tenant, "receipt", embedder=local_embedder()) == [[]]


async def test_words_that_nobody_wrote_find_nothing_without_vectors(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant)
    assert await ids(database, tenant, "aeroplane tickets") == []


@pytest.mark.parametrize("question", ["the of and", "???", "", "   ", "'", "\\", "a:* & !b | (", "<->", "x" * 5_000])
async def test_odd_questions_do_no_harm(database: Database, tenant: TenantId, question: str) -> None:
    await publish(database, tenant, embedder=local_embedder())
    [passages] = await found(database, tenant, question, embedder=local_embedder())
    assert len(passages) <= 4


async def test_a_word_with_odd_characters_inside_is_found(database: Database, tenant: TenantId) -> None:
    odd = an_article("odd", body=r"Open C:\Users\asha\o'brien.txt please.", language="fr")
    await publish(database, tenant, [odd, CAMPS])
    assert (await ids(database, tenant, r"c:\users\asha\o'brien.txt"))[0] == "odd:0"


@pytest.mark.parametrize("question", ["98000 00001", "+919800000001", "9800000001 whose number", "+91-98000-00001"])
async def test_a_telephone_number_is_found_however_it_is_written(
    database: Database, tenant: TenantId, question: str
) -> None:
    await publish(database, tenant)
    assert (await ids(database, tenant, question))[0] == "receipts:2"


@pytest.mark.parametrize("question", ["80g", "80-G", "my 80 G certificate"])
async def test_an_id_is_found_however_it_is_written(database: Database, tenant: TenantId, question: str) -> None:
    await publish(database, tenant)
    assert (await ids(database, tenant, question))[0] == "receipts:0"


async def test_hindi_is_answered_from_hindi_by_its_stems(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant, embedder=local_embedder())
    [passages] = await found(database, tenant, "80G की रसीदें कब मिलेंगी?", embedder=local_embedder(), language="hi")
    assert passages[0].article_id == "hi"
    assert (passages[0].vector_similarity, passages[0].score) == (0.0, 1.0)
    assert {passage.language for passage in passages} <= {"hi", "mr"}


async def test_tamil_is_answered_from_tamil(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant, embedder=local_embedder())
    assert await ids(database, tenant, "80G ரசீது எப்போது?", embedder=local_embedder(), language="ta") == ["ta:0"]


async def test_languages_of_one_script_search_each_other(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant)
    assert set(await ids(database, tenant, "रसीद", language="mr")) == {"hi:0", "mr:0"}
    assert {"fr:0", "camps:0"} <= set(await ids(database, tenant, "camp", language="en"))


async def test_an_english_question_is_not_answered_in_hindi(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant)
    assert {name.split(":")[0] for name in await ids(database, tenant, "80G")} == {"receipts"}


async def test_the_conversation_s_language_decides_where_a_question_has_no_letters(
    database: Database, tenant: TenantId
) -> None:
    numbered = an_article("number", language="hi", title="बाल हेल्पलाइन", body="बच्चे की मदद के लिए 1098 पर फ़ोन करें।")
    await publish(database, tenant, [numbered, an_article("english", body="In danger call 1098 at once.")])
    assert await ids(database, tenant, "1098?", language="hi") == ["number:0"]
    assert await ids(database, tenant, "1098?", language="en") == ["english:0"]


async def test_neighbours_of_what_was_found_follow_at_a_lower_rank(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant)
    [passages] = await found(database, tenant, "prescriptions", embedder=WordlessEmbedder())
    assert [(passage.article_id, passage.position, passage.score) for passage in passages] == [
        ("camps", 1, 1.0),
        ("camps", 0, pytest.approx(0.3)),
    ]
    assert passages[1].coverage == 0.0


async def test_no_more_passages_come_than_were_asked_for(database: Database, asha: TenantId) -> None:
    for limit in (1, 2, 7):
        [passages] = await found(database, asha, "donation", embedder=local_embedder(), limit=limit)
        assert len(passages) == limit
        assert [passage.score for passage in passages] == sorted((p.score for p in passages), reverse=True)


async def test_a_word_that_stands_everywhere_still_finds_something(database: Database, tenant: TenantId) -> None:
    articles = [an_article(f"a{n}", title=f"Donation {n}", body=f"A donation of kind {n}.") for n in range(40)]
    await publish(database, tenant, articles)
    assert len(await ids(database, tenant, "donation")) == 4
    assert (await ids(database, tenant, "donation 17"))[0] == "a17:0"


async def test_in_a_small_tenant_no_word_is_too_common(database: Database, tenant: TenantId) -> None:
    await publish(
        database, tenant, [an_article("a", body="Camps on Sunday."), an_article("b", body="Camps on Monday.")]
    )
    assert (await ids(database, tenant, "camps on monday"))[0] == "b:0"
    assert (await ids(database, tenant, "camps on sunday"))[0] == "a:0"


async def test_coverage_is_the_share_of_the_question_that_a_passage_speaks_of(
    database: Database, tenant: TenantId
) -> None:
    await publish(database, tenant)
    questions = ["prescriptions", "prescriptions aeroplane", "prescriptions aeroplane helicopter"]
    shares = [p[0].coverage for p in await found(database, tenant, *questions, embedder=WordlessEmbedder())]
    assert shares[0] == 1.0
    assert 1 > shares[1] > shares[2] > 0


async def test_stop_words_are_not_searched_for_and_do_not_count(database: Database, tenant: TenantId) -> None:
    kar = an_article("kar", title="Shikayat kaise kar sakte hain", body="Shikayat kaise kar sakte hain: likhiye.")
    await publish(database, tenant, [kar, RECEIPTS])
    questions = ["receipt", "kya main receipt kaise kar sakta hoon", "What do you want me to do for the receipt?"]
    for passages in await found(database, tenant, *questions, embedder=WordlessEmbedder()):
        assert {passage.article_id for passage in passages} == {"receipts"}
        assert passages[0].coverage == 1.0


async def test_a_hindi_word_is_found_in_either_spelling(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant, [an_article("hi", language="hi", title="शिविर", body="दवाइयाँ मुफ़्त मिलती हैं।")])
    assert await ids(database, tenant, "मुफ्त दवाइयां") == await ids(database, tenant, "मुफ़्त दवाइयाँ") == ["hi:0"]


async def test_a_passage_brings_the_questions_of_its_article(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant)
    [[first, *_]] = await found(database, tenant, "receipt?", embedder=WordlessEmbedder())
    assert list(first.questions) == ["How do I get a receipt?"]


async def test_vectors_of_another_embedder_are_not_compared(database: Database, tenant: TenantId) -> None:
    await publish(database, tenant, embedder=ReadingEmbedder())
    [same] = await found(database, tenant, "anything", embedder=ReadingEmbedder())
    assert [passage.vector_similarity for passage in same] == [1.0] * 4
    [other] = await found(database, tenant, "prescriptions", embedder=ReadingEmbedder(name="newer"))
    assert [passage.vector_similarity for passage in other] == [0.0, 0.0]


async def test_one_tenant_never_finds_what_another_published(
    database: Database, tenant: TenantId, stack: Stack
) -> None:
    await publish(database, tenant, embedder=local_embedder())
    other = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    assert await ids(database, other, "80G receipt", embedder=local_embedder()) == []


async def test_the_same_question_has_the_same_answer(database: Database, asha: TenantId) -> None:
    first = await found(database, asha, "80G receipt please", embedder=local_embedder())
    assert await found(database, asha, "80G receipt please", embedder=local_embedder()) == first
