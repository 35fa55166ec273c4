"""LangGraph Studio's dev server, as `make studio` starts it beside a running stack; asked with the official client.

The first start on a machine downloads the server, so it needs the package index.
"""

import importlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from bench.running_stack import FOREIGN, REPOSITORY, RunningStack, free_port
from sandbox.process_table import read_table

START_S = 240.0
STOP_S = 30.0


@pytest.fixture(scope="module")
def studio(product: RunningStack) -> Iterator[LangGraphClient]:
    port = free_port()
    surroundings = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    with tempfile.TemporaryFile("w+") as log:
        make = subprocess.Popen(
            ["make", "studio", f"ARGS=--port {port}"],
            cwd=REPOSITORY, env=surroundings | {"CHOWK_HOME": str(product.home)},
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            answered = answers(make, f"http://127.0.0.1:{port}/ok")
            if answered:
                yield get_client(url=f"http://127.0.0.1:{port}")
        finally:
            left = press_ctrl_c(make)
        log.seek(0)
        assert answered, f"make studio did not answer:\n{log.read()[-4000:]}"
        assert left == [], "Ctrl-C left processes of the dev server behind"


def answers(make: "subprocess.Popen[bytes]", url: str) -> bool:
    """Wait for the server; False if it ended or took too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and make.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).is_success:
                return True
        time.sleep(0.2)
    return False


def press_ctrl_c(make: "subprocess.Popen[bytes]") -> list[int]:
    """End what make started; gives what still ran after `STOP_S` and was killed."""
    with suppress(ProcessLookupError):
        os.killpg(make.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_S
    while (left := group_of(make)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        os.killpg(make.pid, signal.SIGKILL)
    make.wait(STOP_S)
    return left


def group_of(make: "subprocess.Popen[bytes]") -> list[int]:
    """The processes of its session that still run."""
    return [pid for pid, entry in read_table().items() if entry.runs and session_of(pid) == make.pid]


def session_of(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def graphs_of_langgraph_json() -> dict[str, Any]:
    """Every graph that the file names, as its factory makes it."""
    named = json.loads((REPOSITORY / "langgraph.json").read_text())["graphs"]
    made: dict[str, Any] = {}
    for name, place in named.items():
        path, _, factory = place.partition(":")
        module = importlib.import_module(path.removeprefix("./").removesuffix(".py").replace("/", "."))
        made[name] = getattr(module, factory)()
    return made


async def test_the_dev_server_shows_every_graph_of_langgraph_json_with_its_schema(studio: LangGraphClient) -> None:
    graphs = graphs_of_langgraph_json()
    assistants = {assistant["graph_id"]: assistant for assistant in await studio.assistants.search(limit=100)}
    assert assistants.keys() == graphs.keys()
    for name, graph in graphs.items():
        schemas = await studio.assistants.get_schemas(assistants[name]["assistant_id"])
        assert schemas["input_schema"] == graph.get_input_jsonschema(), name
        assert schemas["output_schema"] == graph.get_output_jsonschema(), name
        assert schemas["context_schema"] == graph.get_context_jsonschema(), name
        drawn = await studio.assistants.get_graph(assistants[name]["assistant_id"])
        assert {str(node["id"]) for node in drawn["nodes"]} == {*graph.nodes, "__end__"}, name


async def test_a_question_asked_in_studio_is_answered_from_the_running_stacks_articles_step_by_step(
    studio: LangGraphClient,
) -> None:
    thread = await studio.threads.create()
    steps: list[str] = []
    async for part in studio.runs.stream(
        thread["thread_id"], "question", input={"text": "Can I get a tax receipt for my donation?"},
        stream_mode="updates", stream_subgraphs=True,
    ):  # fmt: skip
        if part.event.startswith("updates"):
            steps += part.data
    state: Any = (await studio.threads.get_state(thread["thread_id"]))["values"]
    await studio.threads.delete(thread["thread_id"])
    assert [step for step in steps if step in ("recall", "triage", "reply", "guard", "emit")] == [
        "recall", "triage", "reply", "guard", "emit",
    ]  # fmt: skip
    (effect,) = state["effects"]
    assert "gets a tax receipt under section 80G" in effect["message"]["text"]


async def test_an_organisation_that_there_is_not_is_refused_in_words_that_studio_shows(studio: LangGraphClient) -> None:
    answer: Any = await studio.runs.wait(
        None, "question", input={"text": "hello"}, context={"organisation": "nobody"}, raise_error=False
    )
    assert "there is no organisation 'nobody'; there are: asha, nagar" in answer["__error__"]["message"]
