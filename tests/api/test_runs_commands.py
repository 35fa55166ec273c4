"""What an operator asks of runs over HTTP: accepted with 202, or refused with a problem document, nothing changed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.crypto import Sealer
from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.operating import Operator, operating
from tests.api.test_conversations import key_of
from tests.conftest import Stack

REPLY = {"action": "reply", "text": "Forty-two, says our colleague."}
ACTS = ("resume", "cancel", "fork", "replay")


@pytest.fixture
async def operator(api: RunningApi, stack: Stack, database: Database, sealer: Sealer) -> AsyncIterator[Operator]:
    async with operating(api, stack, database, sealer) as made:
        yield made


async def test_a_waiting_run_tells_what_an_answer_looks_like_and_takes_one(operator: Operator) -> None:
    scene = operator.scene
    _, waiting = await scene.handed_off()
    run = await operator.get(f"/{waiting.run_id}")
    (question,) = run["interrupts"]
    assert (run["state"], question["asks"], question["slot"]) == ("waiting", "person", "answer")
    assert question["answer_schema"]["discriminator"]["propertyName"] == "action"
    assert set(question["answer_schema"]["discriminator"]["mapping"]) == {"reply", "hand_back", "leave"}
    rings = len(operator.api.rings)
    answer = await operator.post(f"{waiting.run_id}/resume", {"answer": REPLY, "interrupt_id": question["id"]})
    assert answer.status_code == 202
    assert len(operator.api.rings) == rings + 1
    run = await operator.get(f"/{waiting.run_id}")
    assert (run["state"], run["interrupts"]) == ("queued", [])
    await scene.advance()
    assert (await scene.sent())[-1]["text"] == REPLY["text"]
    (command,) = (await operator.get(f"/{waiting.run_id}"))["commands"]
    assert command["id"] == answer.json()["command_id"]
    assert (command["kind"], command["state"]) == ("resume", "done")
    assert command["payload"] == {"slot": "answer", "answer": REPLY}
    assert command["requested_by"].startswith("ak_")


async def test_what_cannot_be_an_answer_is_refused_and_named(operator: Operator) -> None:
    _, waiting = await operator.scene.handed_off()
    resume = f"{waiting.run_id}/resume"
    assert "answer.reply.text" in await operator.refused(resume, {"answer": {"action": "reply"}}, status=400)
    assert "answer" in await operator.refused(resume, None, status=400)
    stale = {"answer": REPLY, "interrupt_id": "0" * 32}
    assert "is not open" in await operator.refused(resume, stale, status=409)
    for body in ({"reply": "Hi"}, {"answer": {"text": "a\x00b"}}, {"answer": {"\x00": 1}}, {"interrupt_id": "x y"}, []):
        await operator.refused(resume, body, status=422)
    for number in (b"NaN", b"1e999", b"-Infinity"):
        answer = await operator.api.client.post(
            f"/v1/runs/{resume}", content=b'{"answer": %s}' % number,
            headers=operator.headers | {"content-type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == 422
    await operator.post(resume, {"answer": REPLY})
    assert "answered already" in await operator.refused(resume, {"answer": REPLY}, status=409)


async def test_a_run_is_cancelled(operator: Operator) -> None:
    await operator.scene.hear("office timings")
    (run,) = (await operator.get())["items"]
    answer = await operator.post(f"{run['id']}/cancel")
    assert (answer.status_code, answer.json()["run_id"]) == (202, run["id"])
    assert (await operator.get(f"/{run['id']}"))["state"] == "cancelled"
    assert "cancelled already" in await operator.refused(f"{run['id']}/cancel", None, status=409)


async def test_a_run_is_forked_where_its_timeline_says_that_it_can_be(operator: Operator) -> None:
    scene = operator.scene
    turn = await scene.answered("office timings")
    steps = (await operator.get(f"/{turn.run_id}/steps"))["items"]
    guard = next(step for step in steps if step["node"] == "guard")
    decision = guard["state_diff"]["decision"] | {"hand_off": "person_asked"}
    asked = {"checkpoint_id": guard["checkpoint_id"], "values": {"decision": decision}}
    answer = await operator.post(f"{turn.run_id}/fork", asked)
    started = answer.json()
    assert (answer.status_code, started["repeats"], started["kind"]) == (202, turn.run_id, "fork")
    await scene.advance()
    fork = await operator.get(f"/{started['run_id']}")
    assert (fork["state"], fork["outcome"]) == ("succeeded", "handed_off")
    assert fork["origin"] == asked | {"run_id": turn.run_id}
    found = await operator.get(f"/{started['run_id']}/comparison")
    assert (found["same"], found["decision"]["repeated"]["hand_off"]) == (False, "person_asked")
    assert found["recorded"]["id"] == turn.run_id


async def test_a_fork_that_could_not_begin_is_refused_and_named(operator: Operator) -> None:
    turn = await operator.scene.answered("office timings")
    fork = f"{turn.run_id}/fork"
    assert "values.decision" in await operator.refused(fork, {"values": {"decision": "answer"}}, status=400)
    assert "values.tenant_id" in await operator.refused(fork, {"values": {"tenant_id": "t_x"}}, status=400)
    assert "no checkpoint" in await operator.refused(fork, {"checkpoint_id": "nonsense"}, status=404)
    for body in ({"values": []}, {"values": {"summary": "\x00"}}, {"dry_run": "maybe"}, {"checkpoint": "x"}):
        await operator.refused(fork, body, status=422)


async def test_a_replay_is_compared_with_the_run_it_repeats(operator: Operator) -> None:
    scene = operator.scene
    turn = await scene.answered("office timings")
    answer = await operator.post(f"{turn.run_id}/replay", {"prompts": "current"})
    started = answer.json()
    assert (answer.status_code, started["dry_run"]) == (202, True)
    await scene.advance()
    replay = await operator.get(f"/{started['run_id']}")
    assert (replay["outcome"], [effect["kind"] for effect in replay["effects"]]) == ("dry_run", ["send"])
    found = await operator.get(f"/{started['run_id']}/comparison")
    assert found["same"]
    assert {step["verdict"] for step in found["steps"]} == {"same"}
    assert len(await scene.sent()) == 1
    await operator.refused(f"{turn.run_id}/replay", {"prompts": "tomorrow's"}, status=422)
    plain = await operator.api.client.get(f"/v1/runs/{turn.run_id}/comparison", headers=operator.headers)
    assert (plain.status_code, "repeats no other" in plain.text) == (409, True)


async def test_another_tenants_run_is_not_found_on_any_route(operator: Operator, stack: Stack, sealer: Sealer) -> None:
    turn = await operator.scene.answered("office timings")
    stranger = await operator.stranger(stack, sealer)
    for act in ACTS:
        await stranger.refused(f"{turn.run_id}/{act}", None, status=404)
    for path in ("", "/steps", "/comparison"):
        answer = await operator.api.client.get(f"/v1/runs/{turn.run_id}{path}", headers=stranger.headers)
        assert answer.status_code == 404
    assert await stranger.get() == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("act", ACTS)
async def test_acting_needs_the_scope_to_write(operator: Operator, database: Database, act: Any) -> None:
    turn = await operator.scene.answered("office timings")
    reader = Operator(operator.api, operator.scene, await key_of(database, operator.scene.tenant_id))
    assert "'write'" in await reader.refused(f"{turn.run_id}/{act}", None, status=403)
    nobody = Operator(operator.api, operator.scene, {})
    await nobody.refused(f"{turn.run_id}/{act}", None, status=401)
