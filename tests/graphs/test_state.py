"""What a checkpoint holds: plain JSON and messages, read back as they were under the strict policy."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde import _msgpack

import graphs.conversation
from graphs.conversation import build_conversation_graph
from graphs.registry import GRAPHS
from tests.graphs.turns import a_context, a_turn, run_turn

LEANING = a_turn(
    "how long does it take?",
    given=[("user", "Can I get a refund of a donation made by mistake?"), ("assistant", "Yes.")],
)


def strange(value: Any, path: str = "") -> list[str]:
    """Where a value is neither JSON nor a message."""
    if isinstance(value, BaseMessage) or value is None or isinstance(value, str | int | float | bool):
        return []
    if type(value) is dict:
        return [found for key, entry in value.items() for found in strange(entry, f"{path}.{key}")]
    if type(value) is list:
        return [found for place, entry in enumerate(value) for found in strange(entry, f"{path}[{place}]")]
    return [f"{path}: {type(value).__name__}"]


async def test_every_checkpoint_reads_back_as_it_was_written_under_the_strict_policy() -> None:
    assert _msgpack.STRICT_MSGPACK_ENABLED
    saver = InMemorySaver()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = await run_turn(LEANING, a_context(), saver=saver)
        stored = await build_conversation_graph(saver).aget_state({"configurable": {"thread_id": "cnv"}})
    assert stored.values == state
    assert strange(dict(state)) == []
    namespaces = {namespace for _, namespace, *_ in saver.blobs}
    assert any(namespace.startswith("reply:") for namespace in namespaces)
    for (_, namespace, channel, _), blob in saver.blobs.items():
        if blob[0] != "empty" and not channel.startswith(("branch:", "__")):
            assert strange(saver.serde.loads_typed(blob)) == [], f"{namespace} {channel}"


async def test_the_window_is_not_stored_with_the_agent() -> None:
    """The agent's own thread holds this turn alone: rules, passages and the window would be stored with each step."""
    saver = InMemorySaver()
    await run_turn(LEANING, a_context(), saver=saver)
    nested = b"".join(
        blob[1] for (_, namespace, channel, _), blob in saver.blobs.items() if namespace.startswith("reply:")
    )
    assert b"refund of a donation made by mistake" not in nested.partition(b"search_knowledge")[0]
    assert b"You answer people who write to" not in nested


async def test_the_state_of_a_turn_is_json_that_a_row_can_hold() -> None:
    state = await run_turn(a_turn("Can I get a tax receipt?"))
    json.dumps({name: value for name, value in state.items() if name != "messages"})


def test_langgraph_json_names_a_factory_without_a_checkpointer_for_every_graph() -> None:
    root = Path(graphs.conversation.__file__).parent.parent
    named = json.loads((root / "langgraph.json").read_text())["graphs"]
    for name in GRAPHS:
        file, _, factory = named[name].partition(":")
        module = importlib.import_module(file.removeprefix("./").removesuffix(".py").replace("/", "."))
        graph = getattr(module, factory)()
        assert (graph.name, graph.checkpointer) == (name, None)
