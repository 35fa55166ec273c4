"""What a person gets for what they write, over fixed passages and the offline model."""

from collections.abc import Sequence

import pytest

from memory.knowledge import Passage
from models.sentences import collapse
from tests.graphs.turns import (
    ARTICLES,
    FixedKnowledge,
    a_context,
    a_message,
    a_passage,
    a_turn,
    hand_off_reason,
    run_turn,
    said,
)

PERSON_LINE = "a person will reply to you here"


async def test_a_question_is_answered_in_the_articles_own_words_with_its_title_as_the_source() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt for my donation?"))
    title, body = ARTICLES["tax-receipt"]
    assert said(state) == f"{body}\n\nSource: {title}"
    [effect] = state["effects"]
    assert effect["kind"] == "send"
    assert effect["slot"] == "reply"
    assert effect["delivery"] == "at_least_once"
    assert effect["message"] == {
        "kind": "text", "to": {"kind": "wa_id", "value": "919800000001"}, "text": said(state), "reply_to": None,
    }  # fmt: skip
    [citation] = effect["citations"]
    assert citation["article_id"] == "tax-receipt"
    assert collapse(citation["quote"]) in collapse(body)


async def test_what_no_article_answers_goes_to_a_person_politely() -> None:
    state = await run_turn(a_turn("What is the meaning of life?"))
    assert PERSON_LINE in said(state)
    assert hand_off_reason(state) == "not_in_knowledge"
    assert [effect["kind"] for effect in state["effects"]] == ["send", "hand_off"]


async def test_the_hand_off_line_is_said_once() -> None:
    awaited = await run_turn(a_turn("And the meaning of death?", owner="awaiting_person"))
    assert awaited["effects"] == []


async def test_while_a_person_is_awaited_what_is_grounded_is_still_answered() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt for my donation?", owner="awaiting_person"))
    assert "Source: Tax receipts" in said(state)
    assert hand_off_reason(state) is None


async def test_while_a_person_is_awaited_a_partial_answer_promises_nothing() -> None:
    turn = a_turn("Can I get a tax receipt?", "who won the cricket world cup?", owner="awaiting_person")
    state = await run_turn(turn)
    assert "Source: Tax receipts" in said(state)
    assert PERSON_LINE not in said(state)
    assert hand_off_reason(state) is None


async def test_danger_reaches_a_person_even_while_one_is_awaited() -> None:
    state = await run_turn(a_turn("I want to kill myself", owner="awaiting_person"))
    assert hand_off_reason(state) == "safety"
    assert said(state) == ""


async def test_a_burst_of_pieces_gets_one_reply() -> None:
    state = await run_turn(a_turn("hi", "I gave 500", "yesterday", "can i get", "a tax receipt?"))
    assert said(state).count("Source:") == 1
    assert "Source: Tax receipts" in said(state)
    assert hand_off_reason(state) is None


async def test_several_questions_are_answered_each_from_its_own_passage() -> None:
    state = await run_turn(
        a_turn("Can I get a tax receipt?", "How can I volunteer?", "where is the Pune office?", "thanks", "ok")
    )
    text = said(state)
    for article_id in ("tax-receipt", "volunteer", "office-pune"):
        title, body = ARTICLES[article_id]
        assert f"{body}\n\nSource: {title}" in text
    assert hand_off_reason(state) is None


async def test_two_questions_in_one_message_are_both_answered() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt? And where is the Pune office?"))
    assert "Source: Tax receipts" in said(state)
    assert "Source: Our office in Pune" in said(state)


async def test_what_is_left_open_goes_to_a_person_beside_the_answer() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt?", "who won the cricket world cup?"))
    assert "Source: Tax receipts" in said(state)
    assert "the rest of your message" in said(state)
    assert hand_off_reason(state) == "not_in_knowledge"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Hello!", "automated assistant of Asha Foundation"),
        ("नमस्ते", "Asha Foundation का स्वचालित सहायक"),
        ("thank you so much", "You are welcome."),
        ("நன்றி", "நல்வரவு."),
    ],
)
async def test_courtesy_is_returned_in_the_persons_language(text: str, line: str) -> None:
    knowledge = FixedKnowledge()
    state = await run_turn(a_turn(text), a_context(knowledge=knowledge))
    assert line in said(state)
    assert hand_off_reason(state) is None
    assert knowledge.asked == []


async def test_an_acknowledgement_asks_for_no_reply() -> None:
    assert (await run_turn(a_turn("ok 👍")))["effects"] == []
    assert (await run_turn(a_turn(trigger=[a_message(None, kind="sticker")])))["effects"] == []


async def test_the_organisations_own_lines_come_first() -> None:
    profile = {
        "name": "Asha", "languages": ["en"], "greeting": {"en": "Welcome!"},
        "hand_off": {"en": "We call back."}, "automated_label": {"en": "Automatic reply"},
    }  # fmt: skip
    assert said(await run_turn(a_turn("hi", profile=profile))) == "Welcome!"
    assert said(await run_turn(a_turn("What is the meaning of life?", profile=profile))) == "We call back."
    answer = said(await run_turn(a_turn("Can I get a tax receipt?", profile=profile)))
    assert answer.endswith("Source: Tax receipts for donations (80G)\n\nAutomatic reply")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I want to talk to a human", "person_asked"),
        ("this is fraud, I will go to the police", "safety"),
        ("STOP", "opt_out"),
    ],
)
async def test_what_needs_a_person_is_handed_over_at_once(text: str, reason: str) -> None:
    knowledge = FixedKnowledge()
    state = await run_turn(a_turn("Can I get a tax receipt?", text), a_context(knowledge=knowledge))
    assert hand_off_reason(state) == reason
    assert PERSON_LINE in said(state)
    assert knowledge.asked == []


async def test_a_picture_without_words_is_handed_over_politely() -> None:
    state = await run_turn(a_turn(trigger=[a_message("hello"), a_message(None, kind="image")]))
    assert said(state).startswith("I cannot look into files")
    assert hand_off_reason(state) == "unreadable"


async def test_the_question_beside_a_picture_is_answered_and_the_picture_handed_over() -> None:
    state = await run_turn(a_turn(trigger=[a_message(None, kind="image"), a_message("Can I get a tax receipt?")]))
    assert "Source: Tax receipts" in said(state)
    assert hand_off_reason(state) == "unreadable"


async def test_a_number_chooses_among_what_was_offered() -> None:
    offer = "Which of these do you mean? Please reply with the number.\n1. How to volunteer\n2. Our office in Pune"
    state = await run_turn(a_turn("2", given=[("user", "pune volunteering"), ("assistant", offer)]))
    assert "Source: Our office in Pune" in said(state)


async def test_a_question_that_leans_on_the_one_before_is_looked_up_with_it() -> None:
    knowledge = FixedKnowledge()
    turn = a_turn(
        "how long does it take?",
        given=[("user", "Can I get a refund of a donation made by mistake?"), ("assistant", "Yes.")],
    )
    state = await run_turn(turn, a_context(knowledge=knowledge))
    assert knowledge.asked == [
        ["how long does it take?"],
        ["Can I get a refund of a donation made by mistake? how long does it take?"],
    ]
    assert "Source: Refund of a donation" in said(state)
    assert [entry["report"]["tool_calls"] for entry in state["trail"] if entry["node"] == "reply"] == [
        ["search_knowledge", "ReplyDecision"]
    ]


async def test_a_reply_never_passes_the_limit_of_the_channel_and_ends_with_a_sentence() -> None:
    long = "This is one sentence about the tax receipt of a donation. " * 60

    class Long(FixedKnowledge):
        async def search(self, queries: Sequence[str], **_: object) -> list[list[Passage]]:
            return [
                [a_passage("tax-receipt", chunk_id=place, similarity=0.9, text=f"{query} {long}")]
                for place, query in enumerate(queries)
            ]

    questions = [f"Can I get tax receipt number {number} for donation {number}?" for number in range(7)]
    state = await run_turn(a_turn(*questions, channel="instagram"), a_context(knowledge=Long()))
    assert 0 < len(said(state)) <= 1000
    for block in said(state).split("\n\nSource: Tax receipts for donations (80G)"):
        assert not block.strip() or block.rstrip().endswith((".", "?"))


async def test_every_step_says_who_wrote_what_and_why() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt for my donation?"))
    assert [(entry["node"], entry["author"]) for entry in state["trail"]] == [
        ("recall", "code"), ("triage", "agent:triage"), ("reply", "agent:reply"), ("guard", "code"), ("emit", "code"),
    ]  # fmt: skip
    triage, reply = state["trail"][1], state["trail"][2]
    assert triage["report"]["prompt_ref"] == state["prompt_refs"]["triage/classify"]
    assert reply["report"]["prompt_ref"] == state["prompt_refs"]["reply/answer"]
    assert reply["report"]["engine"] == "offline"
    assert 1 in reply["memory_hits"]
    assert all(entry["report"]["why"] for entry in state["trail"])
