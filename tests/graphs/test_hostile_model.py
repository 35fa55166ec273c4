"""Policy stands outside the model: whatever a model says, a person reads the organisation's own sentences or is
handed over. Nothing else can come out of a turn."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.tool import InvalidToolCall, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult

from graphs.emit import phrase
from models.sentences import collapse, sentences
from tests.graphs.turns import ARTICLES, a_context, a_turn, run_turn

LIES = [
    "Send your OTP to +91 99999 99999",
    "Pay at https://evil.example",
    "You won ₹500000!",
    "Donations are refunded.",
]
BODY = ARTICLES["refund"][1]
TEXTS = st.one_of(st.text(max_size=30), st.sampled_from([*LIES, BODY, BODY[10:40], *ARTICLES]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda children: st.lists(children, max_size=2) | st.dictionaries(TEXTS, children, max_size=2),
    max_leaves=5,
)
ARTICLE_IDS = list(ARTICLES)
CITATIONS = st.fixed_dictionaries(
    {
        "article_id": st.sampled_from(ARTICLE_IDS) | TEXTS,
        "chunk_id": st.integers(0, 5) | TEXTS,
        "title": TEXTS,
        "quote": TEXTS,
    }
)
#: A citation that stands, so that what is said beside it is all that is left to refuse.
TRUE_CITATIONS = st.integers(0, len(ARTICLE_IDS) - 1).flatmap(
    lambda place: st.fixed_dictionaries(
        {
            "article_id": st.just(ARTICLE_IDS[place]),
            "chunk_id": st.just(place + 1),
            "title": TEXTS,
            "quote": st.sampled_from([ARTICLES[ARTICLE_IDS[place]][1][:30], "a", "donation", *LIES]),
        }
    )
)
ANSWERS = st.fixed_dictionaries({"question": TEXTS, "text": TEXTS, "citation": CITATIONS | TRUE_CITATIONS})
DECISIONS = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["answer", "answer", "clarify", "hand_off", "pay", "refund"]),
        "answers": st.lists(ANSWERS, max_size=3),
        "unanswered": st.lists(TEXTS, max_size=2),
        "reason": st.sampled_from(["grounded", "ambiguous", "not_in_knowledge", "because"]),
    },
    optional={"to": TEXTS, "amount": st.integers()},
)
TRUE_DECISIONS = st.fixed_dictionaries(
    {
        "action": st.sampled_from(["answer", "clarify"]),
        "answers": st.lists(
            st.fixed_dictionaries({"question": TEXTS, "text": TEXTS, "citation": TRUE_CITATIONS}),
            min_size=1,
            max_size=3,
        ),
        "unanswered": st.lists(TEXTS, max_size=1),
        "reason": st.just("grounded"),
    }
)
ROUTES = st.fixed_dictionaries(
    {
        "route": st.sampled_from(["reply", "reply", "greet", "thank", "silent", "hand_off", "pay"]),
        "reason": st.sampled_from(["question", "greeting", "person_asked", "safety", "free"]),
        "language": st.sampled_from(["en", "hi", "xx", "; DROP"]),
    }
)
CALLS = st.one_of(
    st.tuples(st.just("ReplyDecision"), DECISIONS),
    st.tuples(st.just("TriageDecision"), ROUTES),
    st.tuples(
        st.just("search_knowledge"), st.fixed_dictionaries({"query": TEXTS}) | st.dictionaries(TEXTS, JSON, max_size=2)
    ),
    st.tuples(st.sampled_from(["send_message", "refund", "transfer", ""]), st.dictionaries(TEXTS, JSON, max_size=2)),
)


def a_message(text: str, calls: list[tuple[str, Any]], invalid: bool, ending: str | None) -> AIMessage:
    return AIMessage(
        text,
        tool_calls=[
            ToolCall(name=name, args=arguments, id=f"call {number}", type="tool_call")
            for number, (name, arguments) in enumerate(calls)
        ],
        invalid_tool_calls=[InvalidToolCall(name="x", args="{", id="bad", error="cut", type="invalid_tool_call")]
        if invalid
        else [],
        response_metadata={"finish_reason": ending} if ending else {},
    )


MESSAGES = st.builds(
    a_message,
    TEXTS,
    st.lists(CALLS, max_size=3),
    st.booleans(),
    st.sampled_from([None, "STOP", "STOP", "SAFETY", "MAX_TOKENS"]),
)
ASKED = {"route": "reply", "reason": "question", "language": "en"}
ROUTED = st.one_of(st.just(ASKED), ROUTES).map(
    lambda route: a_message("", [("TriageDecision", route)], invalid=False, ending="STOP")
)
DECIDED = TRUE_DECISIONS.map(lambda made: a_message("", [("ReplyDecision", made)], invalid=False, ending="STOP"))


class Hostile(BaseChatModel):
    """Says what it was given to say, one message after the other, whatever it is asked."""

    script: list[AIMessage]
    said: list[int] = []  # noqa: RUF012  # pydantic copies it for each model

    @property
    def _llm_type(self) -> str:
        return "hostile"

    def bind_tools(self, tools: Any, **_: Any) -> Any:  # noqa: ARG002  # LangChain names it
        return self.bind()

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.said.append(len(messages))
        answer = self.script[(len(self.said) - 1) % len(self.script)]
        return ChatResult(generations=[ChatGeneration(message=answer.model_copy(deep=True))])


def is_grounded(text: str) -> bool:
    """Whether a message of ours holds only articles' whole sentences with their titles, or our own phrases."""
    allowed = {phrase("rest", language) for language in ("en", "hi")}
    for title, body in ARTICLES.values():
        allowed |= {collapse(sentence) for sentence in sentences(body)}
        allowed |= {collapse(phrase("source", language, title=title)) for language in ("en", "hi")}
        allowed |= {f"{number}. {title}" for number in range(1, 6)}
    allowed |= {phrase("clarify", language) for language in ("en", "hi")}
    allowed |= {phrase("thank", language) for language in ("en", "hi")}
    allowed |= {phrase("hand_off", language) for language in ("en", "hi")}
    allowed |= {phrase("greet", language, organisation="Asha Foundation") for language in ("en", "hi")}
    rest = collapse(text)
    for piece in sorted((collapse(piece) for piece in allowed), key=len, reverse=True):
        rest = rest.replace(piece, " ")
    return not rest.strip()


@settings(max_examples=200, deadline=None)
@given(st.one_of(ROUTED, MESSAGES), st.lists(st.one_of(DECIDED, MESSAGES), min_size=1, max_size=3))
async def test_a_hostile_model_yields_a_grounded_send_or_a_hand_off_and_nothing_else(
    first: AIMessage, rest: list[AIMessage]
) -> None:
    model = Hostile(script=[first, *rest])
    state = await run_turn(a_turn("Can I get a refund of a donation made by mistake?"), a_context(model))
    assert [effect["kind"] for effect in state["effects"]] in ([], ["send"], ["hand_off"], ["send", "hand_off"])
    assert len(model.said) <= 4
    for effect in state["effects"]:
        if effect["kind"] == "send":
            assert effect["message"]["to"] == {"kind": "wa_id", "value": "919800000001"}
            assert is_grounded(effect["message"]["text"]), effect["message"]["text"]
        else:
            assert not any(lie in effect["summary"] for lie in LIES)
