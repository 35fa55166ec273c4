"""The offline model as LangChain sees it: the same input gives the same output, and no prose."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage

from agents.decisions import read_reply, read_triage, reply_schema, triage_schema
from agents.triage import turn_message
from models.chat import fault_of
from models.offline.chat import ModelIncapable, OfflineChatModel
from models.sentences import collapse
from tests.models.offline.prompts_for import a_match, a_passage, a_reply_prompt, a_search
from tools.knowledge import search_knowledge_tool

TEXTS = st.text(max_size=80)
PASSAGES = st.lists(
    st.builds(
        lambda chunk_id, title, text, similarity, coverage: a_passage(
            chunk_id, article_id=f"article-{chunk_id % 3}", title=title, text=text,
            found_for=[a_match(1, similarity=similarity, coverage=coverage, rank=chunk_id)],
        ),
        st.integers(1, 9), TEXTS, TEXTS, st.floats(-1, 1), st.floats(0, 1),
    ),
    max_size=4,
)  # fmt: skip


def reply_of(messages: Any) -> AIMessage:
    bound = OfflineChatModel().bind_tools([search_knowledge_tool(), reply_schema()], tool_choice="any")
    return bound.invoke(messages)


def essence(message: AIMessage) -> tuple[Any, ...]:
    return message.content, message.tool_calls, message.response_metadata


@given(TEXTS, PASSAGES)
def test_a_reply_is_a_valid_decision_in_the_passages_own_words(question: str, passages: list[dict[str, Any]]) -> None:
    prompt = a_reply_prompt([a_search(1, question)], passages)
    message = reply_of(prompt)
    assert essence(message) == essence(reply_of(prompt))
    assert message.content == ""
    assert fault_of(message) is None
    [call] = message.tool_calls
    decision = read_reply(call["args"])
    assert decision is not None
    texts = {passage["chunk_id"]: [] for passage in passages}
    for passage in passages:
        texts[passage["chunk_id"]].append(collapse(passage["text"]))
    for answer in decision["answers"]:
        assert any(collapse(answer["text"]) in text for text in texts[answer["citation"]["chunk_id"]])
        assert collapse(answer["citation"]["quote"]) in collapse(answer["text"])


@given(st.lists(TEXTS, max_size=4))
def test_a_route_is_a_valid_decision(texts: list[str]) -> None:
    bound = OfflineChatModel().bind_tools([triage_schema()], tool_choice="any")
    message = bound.invoke([turn_message(texts)])
    assert essence(message) == essence(bound.invoke([turn_message(texts)]))
    assert read_triage(message.tool_calls[0]["args"]) is not None


def test_every_reply_says_what_made_it_and_how_sure_it_is() -> None:
    message = reply_of(a_reply_prompt([a_search(1, "tax receipt?")], [a_passage(7, found_for=[a_match()])]))
    metadata = message.response_metadata
    assert metadata["engine"] == "offline"
    assert metadata["action"] == "answer"
    assert metadata["citations"] == [7]
    assert 0.47 <= metadata["confidence"] <= 1


def test_a_call_has_the_same_id_whenever_it_is_made() -> None:
    first = reply_of(a_reply_prompt([a_search(1, "tax receipt?")], []))
    second = reply_of(a_reply_prompt([a_search(1, "tax receipt?")], []))
    other = reply_of(a_reply_prompt([a_search(1, "volunteering?")], []))
    assert first.tool_calls[0]["id"] == second.tool_calls[0]["id"] != other.tool_calls[0]["id"]


def test_structured_output_is_what_langchain_gives_for_any_model() -> None:
    structured = OfflineChatModel().with_structured_output(triage_schema())
    assert structured.invoke([turn_message(["hello"])]) == {"route": "greet", "reason": "greeting", "language": "en"}


def test_what_takes_a_language_model_is_refused() -> None:
    with pytest.raises(ModelIncapable, match="fills"):
        OfflineChatModel().invoke([HumanMessage("Write a poem")])
    with pytest.raises(ModelIncapable, match="Poem"):
        OfflineChatModel().bind_tools([{"title": "Poem", "type": "object"}]).invoke([HumanMessage("Write a poem")])


async def test_it_streams_and_answers_asynchronously_the_same() -> None:
    bound = OfflineChatModel().bind_tools([triage_schema()])
    answered = await bound.ainvoke([turn_message(["thanks"])])
    streamed = [chunk async for chunk in bound.astream([turn_message(["thanks"])])]
    assert essence(answered)[1:] == (streamed[0].tool_calls, streamed[0].response_metadata)
