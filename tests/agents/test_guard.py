from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.decisions import Answer, Citation, ReplyDecision, TriageDecision, TurnDecision
from agents.guard import judge_reply, judge_triage, respect_owner
from models.sentences import collapse
from tools.knowledge import RecalledPassage

BODY = "Yes. Donations are not refundable after 30 days. Write to care@asha.example or call +91 11 4000 0101."


def a_passage(chunk_id: int = 1, *, text: str = BODY, title: str = "Refunds", article_id: str = "") -> RecalledPassage:
    return RecalledPassage(
        chunk_id=chunk_id, article_id=article_id or f"article-{chunk_id}", title=title, text=text, position=0,
        language="en", score=1.0, similarity=0.9, found_for=[],
    )  # fmt: skip


def an_answer(text: str, *, quote: str | None = None, chunk_id: int = 1, **citation: Any) -> Answer:
    cited = Citation(article_id=f"article-{chunk_id}", chunk_id=chunk_id, title="Refunds", quote=quote or text)
    cited.update(citation)  # type: ignore[typeddict-item]
    return Answer(question="Can I get my money back?", text=text, citation=cited)


def judged(*answers: Answer, passages: list[RecalledPassage] | None = None, **fields: Any) -> TurnDecision:
    decision: dict[str, Any] = {"action": "answer", "answers": list(answers), "unanswered": [], "reason": "grounded"}
    return judge_reply(
        ReplyDecision(**(decision | fields)), passages or [a_passage()], language="en", clarified_before=False
    )


def test_a_verbatim_answer_passes_as_whole_sentences() -> None:
    decision = judged(an_answer("refundable after 30 days"))
    assert decision["action"] == "answer"
    [answer] = decision["answers"]
    assert answer["text"] == "Donations are not refundable after 30 days."
    assert answer["title"] == "Refunds"
    assert decision["hand_off"] is None


def test_words_of_the_models_own_are_replaced_by_the_quotation() -> None:
    decision = judged(an_answer("Donations are always refundable.", quote="Donations are not refundable"))
    assert decision["answers"][0]["text"] == "Donations are not refundable after 30 days."


def test_an_answer_whose_quotation_does_not_stand_there_is_a_hand_off() -> None:
    decision = judged(an_answer("Donations are not refundable after 30 days.", quote="Donations are refundable"))
    assert decision["action"] == "hand_off"
    assert decision["hand_off"] == "not_grounded"
    assert decision["unanswered"] == ["Can I get my money back?"]


@pytest.mark.parametrize("citation", [{"chunk_id": 2}, {"article_id": "another"}, {"quote": "  "}])
def test_a_citation_of_nothing_that_was_recalled_is_a_hand_off(citation: dict[str, Any]) -> None:
    assert judged(an_answer("Yes.", **citation))["hand_off"] == "not_grounded"


def test_the_title_is_the_articles_whatever_the_model_calls_it() -> None:
    assert judged(an_answer("Yes.", title="Free money"))["answers"][0]["title"] == "Refunds"


@pytest.mark.parametrize(
    "text",
    [
        "Donations are not refundable. See https://evil.example/pay",
        "Donations are not refundable, ask evil.example",
        "Donations are not refundable. Write to me@evil.example",
        "Donations are not refundable. Call +91 98 7654 3210",
        "Donations are not refundable. Pay to 12345678901",
    ],
)
def test_a_strange_address_or_number_refuses_the_whole_decision(text: str) -> None:
    fine = an_answer("Yes.")
    decision = judged(fine, an_answer(text, quote="Donations are not refundable"))
    assert decision["action"] == "hand_off"
    assert decision["answers"] == []


def test_an_address_of_the_passage_is_no_stranger() -> None:
    decision = judged(
        an_answer("Write to care@asha.example or call +91-11-40000101.", quote="Write to care@asha.example")
    )
    assert decision["action"] == "answer"
    assert decision["answers"][0]["text"] == "Write to care@asha.example or call +91 11 4000 0101."


def test_what_is_grounded_is_kept_and_the_rest_handed_over() -> None:
    decision = judged(an_answer("Yes."), an_answer("No.", quote="No."))
    assert [answer["text"] for answer in decision["answers"]] == ["Yes."]
    assert decision["hand_off"] == "not_in_knowledge"
    assert decision["unanswered"] == ["Can I get my money back?"]


def test_the_same_words_are_said_once() -> None:
    assert len(judged(an_answer("Yes."), an_answer("Yes."))["answers"]) == 1


def test_an_answer_without_answers_is_a_hand_off() -> None:
    assert judged()["hand_off"] == "not_in_knowledge"


def test_a_decision_that_could_not_be_read_is_a_hand_off() -> None:
    decision = judge_reply(None, [a_passage()], language="hi", clarified_before=False)
    assert (decision["action"], decision["hand_off"], decision["language"]) == ("hand_off", "model_refused", "hi")


def test_choices_are_titles_of_recalled_articles_each_once() -> None:
    passages = [a_passage(1, title="One"), a_passage(2, title="Two"), a_passage(3, title="Two")]
    answers = [an_answer("", chunk_id=chunk_id) for chunk_id in (1, 2, 3, 9)]
    decision = judged(*answers, passages=passages, action="clarify")
    assert [choice["title"] for choice in decision["choices"]] == ["One", "Two"]


def test_a_choice_of_one_is_no_choice() -> None:
    assert judged(an_answer("", chunk_id=1), action="clarify")["action"] == "hand_off"


def test_the_person_is_asked_to_choose_only_once() -> None:
    passages = [a_passage(1, title="One"), a_passage(2, title="Two")]
    answers = [an_answer("", chunk_id=chunk_id) for chunk_id in (1, 2)]
    decision = ReplyDecision(action="clarify", answers=answers, unanswered=[], reason="ambiguous")
    assert judge_reply(decision, passages, language="en", clarified_before=True)["hand_off"] == "unclear_twice"


@pytest.mark.parametrize(
    ("route", "reason", "action", "hand_off"),
    [
        ("greet", "greeting", "greet", None),
        ("thank", "thanks", "thank", None),
        ("silent", "acknowledgement", "silent", None),
        ("hand_off", "person_asked", "hand_off", "person_asked"),
        ("hand_off", "safety", "hand_off", "safety"),
        ("hand_off", "question", "hand_off", "person_asked"),
    ],
)
def test_a_route_without_knowledge_is_settled_by_code(route: Any, reason: Any, action: str, hand_off: str) -> None:
    decision = judge_triage(TriageDecision(route=route, reason=reason, language="en"))
    assert (decision["action"], decision["hand_off"]) == (action, hand_off)


def test_once_a_person_has_taken_over_nothing_is_said() -> None:
    assert respect_owner(judged(an_answer("Yes.")), "person")["action"] == "silent"


def test_while_a_person_is_awaited_only_answers_are_said() -> None:
    kept = respect_owner(judged(an_answer("Yes."), an_answer("No.", quote="No.")), "awaiting_person")
    assert (kept["action"], kept["hand_off"]) == ("answer", None)
    for other in (judged(), judge_triage(TriageDecision(route="greet", reason="greeting", language="en"))):
        silent = respect_owner(other, "awaiting_person")
        assert (silent["action"], silent["hand_off"]) == ("silent", None)


TEXTS = st.text(alphabet=st.sampled_from("Yes no.rfundable@/: 0123"), max_size=40)
ANSWERS = st.builds(
    lambda text, quote, chunk_id, article: an_answer(text, quote=quote, chunk_id=chunk_id, article_id=article),
    st.one_of(TEXTS, st.sampled_from([BODY, BODY[5:30]])),
    st.one_of(TEXTS, st.sampled_from([BODY[5:30], "Yes."])),
    st.integers(0, 3),
    st.sampled_from(["article-1", "article-2", "x"]),
)


@given(
    st.sampled_from(["answer", "clarify", "hand_off"]), st.lists(ANSWERS, max_size=5), st.lists(TEXTS, max_size=3),
    st.booleans(),
)  # fmt: skip
def test_whatever_is_decided_only_whole_sentences_of_recalled_passages_pass(
    action: Any, answers: list[Answer], unanswered: list[str], clarified_before: bool
) -> None:
    passages = [a_passage(1), a_passage(2, text="Two is not one. It is two.", title="Two")]
    decision = judge_reply(
        ReplyDecision(action=action, answers=answers, unanswered=unanswered, reason="grounded"),
        passages, language="en", clarified_before=clarified_before,
    )  # fmt: skip
    texts = {passage["chunk_id"]: passage for passage in passages}
    for answer in decision["answers"]:
        passage = texts[answer["chunk_id"]]
        assert answer["text"] in passage["text"]
        assert answer["text"][-1] in ".!?"
        assert answer["title"] == passage["title"]
        assert collapse(answer["quote"]) in collapse(answer["text"]) or collapse(answer["quote"]) in passage["text"]
    assert {choice["title"] for choice in decision["choices"]} <= {"Refunds", "Two"}
    assert decision["action"] in ("answer", "clarify", "hand_off")
    assert (decision["action"] == "hand_off") == (not decision["answers"] and not decision["choices"])
