"""Waiting for a run by the official client: the result, its failure, and who may wait."""

import asyncio
import json
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from httpx import HTTPStatusError

from api.agent.waiters import Waiters
from core.crypto import Sealer
from db.checkpoint_pool import CheckpointPool
from db.pools import Database
from tests.api.agent.conftest import LEAVE, REPLY, Tool
from tests.api.agent.test_runs import fail
from tests.api.conftest import RunningApi, running
from tests.api.server import serving
from tests.api.test_conversations import key_of
from tests.eventually import eventually
from tests.graphs.operated import Operated


async def test_whoever_answers_may_wait_for_what_comes_of_it(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    async with tool.working():
        values: Any = await tool.client.runs.wait(waiting.thread_id, "hand_off", command={"resume": REPLY})
    assert [effect["kind"] for effect in values["effects"]] == ["send", "hand_back"]
    assert values["answer"] == REPLY
    assert await tool.client.runs.join(waiting.thread_id, waiting.run_id) == values


async def test_a_run_that_waits_again_gives_its_values_and_its_question(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    checkpoint = (await tool.client.threads.get_state(waiting.thread_id))["checkpoint"]
    async with tool.working():
        values: Any = await tool.client.runs.wait(waiting.thread_id, "hand_off", checkpoint=checkpoint)
    (interrupt,) = values.pop("__interrupt__")
    assert interrupt["value"]["asks"] == "person"
    assert values["hand_off"]["reason"] == "not_in_knowledge"
    assert values["run_id"] != waiting.run_id
    joined = await tool.client.runs.join(waiting.thread_id, waiting.run_id)
    assert joined["__interrupt__"][0]["id"] != interrupt["id"]


async def test_a_join_gives_what_that_run_came_to_and_not_a_later_one(tool: Tool) -> None:
    sender = await tool.scene.hear("office timings")
    (first,) = await tool.scene.advance()
    await tool.scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await tool.scene.advance()
    for run in (first, second):
        joined = await tool.client.runs.join(run.thread_id, run.run_id)
        assert joined["run_id"] == run.run_id
        assert [effect["kind"] for effect in joined["effects"]] == ["send"]


async def test_a_join_waits_until_a_worker_has_taken_the_run_up(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT id, thread_id FROM core.runs")
    joining = asyncio.create_task(tool.client.runs.join(run["thread_id"], run["id"]))
    async with tool.working():
        values = await joining
    assert values["run_id"] == run["id"]


async def test_a_run_that_failed_raises_where_it_is_waited_for_and_is_told_where_it_is_joined(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT id, thread_id FROM core.runs")
    await fail(tool, run["id"])
    failed = {"__error__": {"error": "dead", "message": "given up after 5 attempts"}}
    assert await tool.client.runs.join(run["thread_id"], run["id"]) == failed
    waiting = asyncio.create_task(tool.client.runs.wait(run["thread_id"], "conversation"))

    async def goes_on() -> bool:
        return (await tool.scene.run(run["id"]))["state"] == "queued"

    await eventually(goes_on)
    await tool.client.runs.cancel(run["thread_id"], run["id"])
    with pytest.raises(Exception, match=f"cancelled: run {run['id']} was cancelled"):
        await waiting


async def test_what_is_refused_is_refused_before_anything_is_waited_for(tool: Tool) -> None:
    turn, _ = await tool.scene.handed_off()
    before = await tool.scene.everything()
    with pytest.raises(HTTPStatusError, match="409") as refused:
        await tool.client.runs.wait(turn.thread_id, "conversation", command={"resume": LEAVE})
    assert f"run {turn.run_id} has succeeded" in refused.value.__notes__[0]
    with pytest.raises(HTTPStatusError, match="404") as refused:
        await tool.client.runs.join(turn.thread_id, "run_0")
    assert "has no run 'run_0'" in refused.value.__notes__[0]
    assert await tool.scene.everything() == before


async def test_the_same_request_under_one_idempotency_key_is_waited_for_and_acts_once(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    asked: dict[str, Any] = {"context": {"dry_run": True}, "headers": {"Idempotency-Key": "replay-1"}}
    async with tool.working():
        first = await tool.client.runs.wait(turn.thread_id, "conversation", **asked)
        assert await tool.client.runs.wait(turn.thread_id, "conversation", **asked) == first
    assert await tool.client.threads.count(metadata={"kind": "replay"}) == 1


@dataclass(slots=True)
class Caller:
    """Joins a run over plain ASGI, and may hang up."""

    api: RunningApi
    path: str
    headers: dict[str, str]
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    answered: list[Any] = field(default_factory=list[Any])

    async def join(self) -> None:
        await self.api.app(
            {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
                "path": self.path, "raw_path": self.path.encode(), "root_path": "", "query_string": b"",
                "headers": [(name.encode(), value.encode()) for name, value in self.headers.items()],
                "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            },
            self._receive,
            self._send,
        )  # fmt: skip

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.answered.append(message)


async def a_queued_run(scene: Operated) -> str:
    await scene.hear("office timings")
    (run,) = await scene.rows("SELECT id, thread_id FROM core.runs")
    return f"/agent/threads/{run['thread_id']}/runs/{run['id']}"


def waiters_of(api: RunningApi) -> Waiters:
    """Those of the application behind the edge."""
    (inner,) = [cell.cell_contents for cell in api.app.__closure__ if isinstance(cell.cell_contents, FastAPI)]  # type: ignore[attr-defined]
    return inner.state.agent_waiters


@pytest.mark.parametrize("end", ["join", "stream"])
async def test_nobody_is_waited_for_who_hung_up(api: RunningApi, scene: Operated, database: Database, end: str) -> None:
    caller = Caller(api, f"{await a_queued_run(scene)}/{end}", await key_of(database, scene.tenant_id))
    joining = asyncio.create_task(caller.join())

    async def waits() -> bool:
        return bool(caller.answered)

    await eventually(waits)
    assert waiters_of(api).count == 1
    caller.gone.set()
    await joining
    assert waiters_of(api).count == 0
    assert not any(b"end" in message.get("body", b"") for message in caller.answered)


async def test_too_many_who_wait_are_sent_away_for_a_moment(
    api: RunningApi, scene: Operated, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await a_queued_run(scene)
    headers = await key_of(database, scene.tenant_id, scopes=("read", "write"))
    monkeypatch.setattr("api.agent.waiters.WAITERS_MAX", 1)
    first = Caller(api, f"{run}/join", headers)
    joining = asyncio.create_task(first.join())

    async def waits() -> bool:
        return bool(first.answered)

    await eventually(waits)
    before, thread = await scene.everything(), run.partition("/runs")[0]
    for method, path in (
        ("GET", f"{run}/join"), ("GET", f"{run}/stream"), ("POST", f"{thread}/runs/wait"),
        ("POST", f"{thread}/runs/stream"), ("POST", f"{run}/cancel?wait=1"),
    ):  # fmt: skip
        answer = await api.client.request(method, path, headers=headers, json={"assistant_id": "conversation"})
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), path
        assert answer.headers["retry-after"] == "1"
    assert await scene.everything() == before
    first.gone.set()
    await joining


@pytest.mark.parametrize("end", ["join", "stream"])
async def test_a_long_wait_is_kept_alive_and_ends_in_words(
    api: RunningApi, scene: Operated, database: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("api.agent.waiting.KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr("api.agent.stream.KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr("api.agent.waiting.WAIT_S_MAX", 0.3)
    headers = await key_of(database, scene.tenant_id)
    answer = await api.client.get(f"{await a_queued_run(scene)}/{end}", headers=headers)
    assert answer.status_code == 200
    if end == "join":
        assert answer.content.startswith(b"\n")
        assert answer.json()["__error__"]["error"] == "timeout"
    else:
        # It has no end: the client comes back by itself.
        assert ": heartbeat" in answer.text
        assert [line for line in answer.text.splitlines() if line.startswith("event")] == ["event: metadata"]


@pytest.mark.parametrize("end", ["join", "stream"])
async def test_a_defect_of_ours_is_told_and_not_asked_for_again(
    api: RunningApi, scene: Operated, database: Database, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    await scene.answered("office timings")
    (run,) = await scene.rows("SELECT id, thread_id FROM core.runs")
    monkeypatch.setattr("api.agent.snapshots.to_jsonable_python", lambda *_, **__: 1 / 0)
    headers = await key_of(database, scene.tenant_id)
    answer = await api.client.get(f"/agent/threads/{run['thread_id']}/runs/{run['id']}/{end}", headers=headers)
    told = {"error": "broken", "message": "an error of ours, which is logged"}
    if end == "join":
        assert answer.json() == {"__error__": told}
    else:
        assert answer.text.endswith(f"event: error\ndata: {json.dumps(told, separators=(',', ':'))}\n\n")


async def test_a_server_that_stops_cuts_off_who_waits_and_they_may_join_elsewhere(
    scene: Operated, database: Database, tmp_path: Path
) -> None:
    run = await a_queued_run(scene)
    headers = await key_of(database, scene.tenant_id)
    with serving(tmp_path) as server:
        async with (
            httpx.AsyncClient(base_url=server.url, headers=headers) as client,
            client.stream("GET", f"{run}/join") as answer,
        ):
            assert f"/agent{answer.headers['location']}" == f"{run}/join"
            parts = answer.aiter_bytes()
            assert await anext(parts) == b"\n"
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                [part async for part in parts]
    assert server.process.returncode == 0
    assert server.log() == ""


async def test_a_database_that_is_away_is_a_problem_before_and_a_cut_in_an_answer(
    scene: Operated, sealer: Sealer, tmp_path: Path
) -> None:
    turn = await scene.answered("office timings")
    headers = await key_of(scene.database, scene.tenant_id)
    closed = CheckpointPool("", open=False)
    async with running(replace(scene.database, checkpoints=closed), sealer, tmp_path) as api:
        thread = f"/agent/threads/{turn.thread_id}"
        for path in (thread, f"{thread}/state"):
            answer = await api.client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        for end, told in (("join", []), ("stream", ["event: metadata", "event: updates"])):
            caller = Caller(api, f"{thread}/runs/{turn.run_id}/{end}", headers)
            await caller.join()
            parts = [message for message in caller.answered if message["type"] == "http.response.body"]
            assert all(part["more_body"] for part in parts)
            lines = b"".join(part["body"] for part in parts).decode().splitlines()
            assert [line for line in lines if line.startswith("event")] == told
