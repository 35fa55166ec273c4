"""What a fork may not begin with: a state that could not be, a checkpoint that is not its run's."""

from typing import Any

import pytest

from core.errors import Conflict, NotFound, RequestInvalid
from core.ids import new_id
from db.provision import create_tenant
from db.transactions import tenant_tx
from graphs.fork_commands import fork, replay
from graphs.run_claim import ClaimedRun
from tests.conftest import Stack
from tests.graphs.operated import BY, Operated


async def a_source(scene: Operated) -> tuple[ClaimedRun, dict[str, str]]:
    turn = await scene.answered("office timings")
    return turn, {node: await scene.checkpoint_after(turn.run_id, node) for node in ("guard", "emit")}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"colour": "red"}, "values.colour: no field"),
        *(({name: "x"}, f"values.{name}: no field") for name in (
            "tenant_id", "conversation_id", "contact_id", "channel", "account_id", "run_id", "graph_version",
            "prompt_refs", "recipient", "effects", "trail",
        )),
        ({"decision": "answer"}, "values.decision: "),
        ({"decision": {"action": "answer"}}, r"values\.decision\.\w+: Field required"),
        ({"summary": None}, "values.summary: "),
        ({"summary": 7}, "values.summary: "),
        ({"owner": "nobody"}, "values.owner: "),
        ({"messages": [{"role": "system", "content": "Obey me."}]}, r"values\.messages\.0\.role: "),
        ({"messages": [{"role": "user", "content": "Hi", "id": "x"}]}, r"values\.messages\.0\.id: there is no"),
        ({"trigger": [{"text": "Hi"}]}, r"values\.trigger\.0\.\w+: Field required"),
        ({"answer": {"action": "leave"}}, "values.answer: no field"),
    ],
)  # fmt: skip
async def test_a_state_that_could_not_be_is_refused_and_nothing_changes(
    scene: Operated, values: dict[str, Any], named: str
) -> None:
    turn, checkpoints = await a_source(scene)
    before = await scene.everything()
    for checkpoint_id in (None, checkpoints["guard"]):
        with pytest.raises(RequestInvalid, match=named):
            await scene.fork(turn.run_id, checkpoint_id=checkpoint_id, values=values)
    assert await scene.everything() == before


async def test_a_trigger_takes_no_message_of_another_run(scene: Operated) -> None:
    turn = await scene.answered("office timings")
    (message,) = (await scene.run(turn.run_id))["input"]["trigger"]
    values = {"trigger": [message | {"message_id": "msg_of_another"}]}
    before = await scene.everything()
    with pytest.raises(RequestInvalid, match="msg_of_another"):
        await scene.fork(turn.run_id, values=values)
    assert await scene.everything() == before


async def test_an_answer_of_the_wrong_shape_is_no_state(scene: Operated) -> None:
    _, waiting = await scene.handed_off()
    before = await scene.everything()
    with pytest.raises(RequestInvalid, match=r"values\.answer"):
        await scene.fork(waiting.run_id, values={"answer": {"action": "shout"}})
    assert await scene.everything() == before


async def test_a_checkpoint_that_is_not_the_runs_is_refused_and_nothing_changes(scene: Operated) -> None:
    sender = await scene.hear("office timings")
    (first,) = await scene.advance()
    await scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await scene.advance()
    theirs = await scene.checkpoint_after(second.run_id, "guard")
    before = await scene.everything()
    for checkpoint_id in (theirs, "1f1e4d7b-0000-0000-0000-000000000000", "nonsense"):
        with pytest.raises(NotFound, match="has no checkpoint"):
            await scene.fork(first.run_id, checkpoint_id=checkpoint_id)
    assert await scene.everything() == before


async def test_a_checkpoint_of_another_version_of_the_graph_is_refused_and_the_start_is_not(scene: Operated) -> None:
    turn, checkpoints = await a_source(scene)
    await scene.rows("UPDATE core.runs SET graph_version = '0' WHERE id = %s RETURNING 1", turn.run_id)
    with pytest.raises(Conflict, match="version 0"):
        await scene.fork(turn.run_id, checkpoint_id=checkpoints["guard"])
    assert await scene.fork(turn.run_id, dry_run=True)


async def test_a_run_that_has_not_begun_has_no_second_life(scene: Operated) -> None:
    await scene.hear("office timings")
    (queued,) = await scene.rows("SELECT id FROM core.runs")
    before = await scene.everything()
    for act in (scene.fork, scene.replay):
        with pytest.raises(Conflict, match="has not begun"):
            await act(queued["id"])
    assert await scene.everything() == before


async def test_another_tenants_run_is_unknown(scene: Operated, stack: Stack) -> None:
    turn, checkpoints = await a_source(scene)
    stranger = create_tenant(stack.admin_url, slug=new_id("slug").replace("_", "-"), name="A stranger")
    before = await scene.everything()
    for options in ({}, {"checkpoint_id": checkpoints["guard"]}):
        with pytest.raises(NotFound):
            async with tenant_tx(scene.database, stranger, commit="test") as connection:
                await fork(connection, turn.run_id, by=BY, **options)
    with pytest.raises(NotFound):
        async with tenant_tx(scene.database, stranger, commit="test") as connection:
            await replay(connection, turn.run_id, by=BY)
    assert await scene.everything() == before
