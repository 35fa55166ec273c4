"""The real Gemini client against a stand-in that speaks its wire format; a reply that is not whole never answers."""

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from core.errors import SettingInvalid
from core.settings import ModelSettings
from models.chat import ModelRejected, ModelUnavailable, ask, build_chat_model, engine_of, fault_of
from models.offline.chat import OfflineChatModel
from tests.graphs.turns import ARTICLES, a_context, a_turn, hand_off_reason, run_turn, said
from tests.models.gemini_stand_in import Answer, StandIn, a_call, a_reply, an_error, gemini, tools_in

QUESTION = "When does the receipt for my donation come?"
SENTENCE = "The receipt comes by e-mail within 2 working days."


def gemini_settings(url: str, model: str = "gemini-2.5-flash") -> ModelSettings:
    return ModelSettings.model_validate(
        {"CHOWK_MODEL": f"google_genai:{model}", "GOOGLE_API_KEY": "a-key", "GOOGLE_GEMINI_BASE_URL": url}
    )


def a_decision(**fields: Any) -> Answer:
    citation = {"article_id": "tax-receipt", "chunk_id": 1, "title": "80G", "quote": SENTENCE}
    answer = {"question": QUESTION, "text": SENTENCE, "citation": citation}
    decision = {"action": "answer", "answers": [answer], "unanswered": [], "reason": "grounded"}
    return a_call("ReplyDecision", **(decision | fields))


def sensible(body: dict[str, Any]) -> Answer:
    if "TriageDecision" in tools_in(body):
        return a_call("TriageDecision", route="reply", reason="question", language="en")
    return a_decision()


def but(reply: Answer) -> Any:
    """A model that triages sensibly and then answers with `reply`."""
    return lambda body: sensible(body) if "TriageDecision" in tools_in(body) else reply


async def turn_with(stand_in: StandIn, *texts: str, **fields: Any) -> Any:
    return await run_turn(a_turn(*texts, **fields), a_context(build_chat_model(gemini_settings(stand_in.url))))


async def test_the_whole_graph_answers_with_gemini() -> None:
    async with gemini(sensible) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert said(state) == f"{SENTENCE}\n\nSource: {ARTICLES['tax-receipt'][0]}"
    assert hand_off_reason(state) is None
    assert stand_in.paths == ["/v1beta/models/gemini-2.5-flash:generateContent"] * 2
    assert stand_in.headers[0]["x-goog-api-key"] == "a-key"
    reports = {entry["node"]: entry["report"] for entry in state["trail"]}
    assert reports["reply"]["engine"] == "gemini-2.5-flash"
    assert (reports["reply"]["tokens_in"], reports["reply"]["tokens_out"]) == (100, 20)
    assert (reports["triage"]["tokens_in"], reports["triage"]["tokens_out"]) == (100, 20)


async def test_gemini_must_call_one_of_its_tools_and_is_told_what_is_data() -> None:
    async with gemini(sensible) as stand_in:
        await turn_with(stand_in, QUESTION, given=[("assistant", "Hello"), ("user", "hi"), ("assistant", "Hi!")])
    body = stand_in.bodies[1]
    assert tools_in(body) == ["search_knowledge", "ReplyDecision"]
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    assert body["generationConfig"]["temperature"] == 0.0
    system = body["systemInstruction"]["parts"][0]["text"]
    assert '"title": "Tax receipts for donations (80G)"' in system
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    assert QUESTION in body["contents"][-1]["parts"][0]["text"]
    assert QUESTION not in system.partition("<searches>[")[0]


async def test_gemini_may_search_again_and_answer_from_what_it_finds() -> None:
    def searching(body: dict[str, Any]) -> Answer:
        answered = [part for content in body["contents"] for part in content["parts"] if "functionResponse" in part]
        if "TriageDecision" in tools_in(body):
            return sensible(body)
        return a_decision() if answered else a_call("search_knowledge", query="tax receipt donation")

    async with gemini(searching) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert SENTENCE in said(state)
    assert len(stand_in.bodies) == 3


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (a_reply([], finish_reason="SAFETY"), "SAFETY"),
        (a_reply([], finish_reason="MALFORMED_FUNCTION_CALL"), "MALFORMED_FUNCTION_CALL"),
        (a_reply([{"text": "Sure"}], finish_reason="MAX_TOKENS"), "MAX_TOKENS"),
        (a_reply([]), "empty"),
        ((200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}), "PROHIBITED_CONTENT"),
        (a_reply([{"text": "Yes, of course you get your money back!"}]), "did not fill in"),
        (a_call("ReplyDecision", action="pay", answers=[], unanswered=[], reason="grounded"), "did not fill in"),
        (a_call("ReplyDecision", action="answer"), "did not fill in"),
    ],
)
async def test_a_reply_that_is_blocked_cut_or_malformed_is_a_hand_off(reply: Answer, told: str) -> None:
    async with gemini(but(reply)) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_refused"
    assert "a person will reply" in said(state)
    assert told in next(entry["report"]["why"] for entry in state["trail"] if entry["node"] == "reply")


async def test_a_cut_decision_is_not_used_though_it_parses() -> None:
    status, body = a_decision()
    body["candidates"][0]["finishReason"] = "MAX_TOKENS"
    async with gemini(but((status, body))) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_refused"


async def test_a_blocked_triage_is_a_hand_off() -> None:
    async with gemini(lambda _: a_reply([], finish_reason="SAFETY")) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_refused"
    assert len(stand_in.bodies) == 1


async def test_a_model_that_never_decides_is_stopped() -> None:
    async with gemini(but(a_call("search_knowledge", query="receipt"))) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_refused"
    assert len(stand_in.bodies) == 4


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_overloaded_provider_is_asked_twice_and_then_a_person(status: int) -> None:
    async with gemini(lambda _: an_error(status, "UNAVAILABLE", "try later")) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_unavailable"
    assert len(stand_in.bodies) == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND")],
)
async def test_a_refusing_provider_is_asked_once(status: int, code: str) -> None:
    async with gemini(lambda _: an_error(status, code, "no")) as stand_in:
        state = await turn_with(stand_in, QUESTION)
    assert hand_off_reason(state) == "model_unavailable"
    assert len(stand_in.bodies) == 1


async def test_a_provider_that_cannot_be_reached_is_unavailable() -> None:
    async with gemini(sensible) as stand_in:
        url = stand_in.url
    model = build_chat_model(gemini_settings(url))
    with pytest.raises(ModelUnavailable, match="try again"):
        await ask(model.ainvoke([HumanMessage("hi")]))


async def test_a_refusal_says_what_to_check() -> None:
    async with gemini(lambda _: an_error(403, "PERMISSION_DENIED", "bad key")) as stand_in:
        with pytest.raises(ModelRejected, match="CHOWK_MODEL and its key"):
            await ask(build_chat_model(gemini_settings(stand_in.url)).ainvoke([HumanMessage("hi")]))


async def test_a_defect_of_ours_is_not_taken_for_the_providers() -> None:
    async def broken() -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await ask(broken())


async def test_newer_gemini_models_keep_their_own_temperature() -> None:
    async with gemini(sensible) as stand_in:
        model = build_chat_model(gemini_settings(stand_in.url, "gemini-3-pro"))
        await run_turn(a_turn(QUESTION), a_context(model))
    assert "temperature" not in stand_in.bodies[0]["generationConfig"]


def test_the_offline_model_is_the_default() -> None:
    model = build_chat_model(ModelSettings.model_validate({"CHOWK_MODEL": "offline"}))
    assert isinstance(model, OfflineChatModel)
    assert engine_of(model) == "offline"


def test_gemini_without_a_key_is_refused_by_name() -> None:
    with pytest.raises(SettingInvalid, match="GOOGLE_API_KEY"):
        build_chat_model(ModelSettings.model_validate({"CHOWK_MODEL": "google_genai:gemini-2.5-flash"}))


def test_an_unknown_provider_is_refused_by_name() -> None:
    with pytest.raises(SettingInvalid, match="CHOWK_MODEL=nobody:x"):
        build_chat_model(ModelSettings.model_validate({"CHOWK_MODEL": "nobody:x"}))


def test_the_providers_library_is_loaded_only_for_its_models() -> None:
    program = (
        "import sys, models.chat as c\n"
        "from core.settings import ModelSettings\n"
        "c.build_chat_model(ModelSettings())\n"
        "assert 'langchain_google_genai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_plain_whole_reply_has_no_fault() -> None:
    assert fault_of(AIMessage("yes")) is None
    assert fault_of(AIMessage("yes", response_metadata={"finish_reason": "stop"})) is None
    assert fault_of(AIMessage("yes", response_metadata={"stop_reason": "end_turn"})) is None
    assert fault_of(AIMessage("yes", response_metadata={"finish_reason": "length"})) == "reply ended with length"
