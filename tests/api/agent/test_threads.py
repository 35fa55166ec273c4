"""Threads: conversations, and the runs that stand on threads of their own."""

from typing import Any

import pytest
from langgraph_sdk.errors import APIStatusError, ConflictError, NotFoundError, UnprocessableEntityError

from api.agent.shapes import assistant_id_of
from tests.api.agent.conftest import REPLY, Tool


async def statuses(tool: Tool) -> dict[str, str]:
    return {thread["thread_id"]: thread["status"] for thread in await tool.client.threads.search()}


async def test_a_waiting_run_is_an_interrupted_thread_with_its_question_by_task(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    thread = await tool.client.threads.get(waiting.thread_id)
    assert (thread["thread_id"], thread["status"]) == (waiting.run_id, "interrupted")
    assert thread["metadata"] == {
        "graph_id": "hand_off", "assistant_id": assistant_id_of("hand_off"),
        "conversation_id": turn.conversation_id, "kind": "hand_off",
    }  # fmt: skip
    ((task_id, (interrupt,)),) = thread["interrupts"].items()
    state = await tool.client.threads.get_state(waiting.thread_id)
    assert [task["id"] for task in state["tasks"]] == [task_id]
    (kept,) = (await tool.scene.run(waiting.run_id))["interrupts"]
    assert (interrupt["id"], interrupt["value"]) == (kept["id"], {name: kept[name] for name in kept if name != "id"})
    assert interrupt["response_schema"]["discriminator"]["propertyName"] == "action"
    assert thread["values"] == state["values"]
    assert thread["values"]["hand_off"]["reason"] == "not_in_knowledge"


async def test_a_conversation_is_one_thread_for_all_its_turns(tool: Tool) -> None:
    sender = await tool.scene.hear("office timings")
    (first,) = await tool.scene.advance()
    await tool.scene.hear("and the 80G receipt?", sender=sender)
    (second,) = await tool.scene.advance()
    (thread,) = await tool.client.threads.search()
    assert thread["thread_id"] == first.thread_id == second.thread_id == first.conversation_id
    assert (thread["status"], thread["interrupts"]) == ("idle", {})
    assert thread["metadata"]["kind"] == "turn"
    assert thread["values"]["run_id"] == second.run_id
    assert thread["created_at"] < thread["updated_at"]


async def test_a_thread_is_busy_while_a_run_has_something_to_do_and_in_error_once_its_last_run_died(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    assert await statuses(tool) == {turn.thread_id: "idle", waiting.thread_id: "interrupted"}
    await tool.client.runs.create(waiting.thread_id, "hand_off", command={"resume": REPLY})
    thread = await tool.client.threads.get(waiting.thread_id)
    assert (thread["status"], thread["interrupts"]) == ("busy", {})
    await tool.scene.rows("UPDATE core.runs SET state = 'dead' WHERE id = %s RETURNING 1", turn.run_id)
    assert await statuses(tool) == {turn.thread_id: "error", waiting.thread_id: "busy"}
    await tool.scene.advance()
    assert await statuses(tool) == {turn.thread_id: "error", waiting.thread_id: "idle"}


async def test_threads_are_found_by_status_metadata_and_id(tool: Tool) -> None:
    turn, waiting = await tool.scene.handed_off()
    other = await tool.scene.answered("office timings")
    every = {turn.thread_id, waiting.thread_id, other.thread_id}
    searches: list[tuple[dict[str, Any], set[str]]] = [
        ({}, every),
        ({"status": "interrupted"}, {waiting.thread_id}),
        ({"status": "idle"}, {turn.thread_id, other.thread_id}),
        ({"status": "busy"}, set()),
        ({"status": "error"}, set()),
        ({"metadata": {"graph_id": "conversation"}}, {turn.thread_id, other.thread_id}),
        ({"metadata": {"assistant_id": assistant_id_of("hand_off")}}, {waiting.thread_id}),
        ({"metadata": {"assistant_id": assistant_id_of("hand_off"), "graph_id": "conversation"}}, set()),
        ({"metadata": {"assistant_id": assistant_id_of("another")}}, set()),
        ({"metadata": {"conversation_id": turn.conversation_id}}, {turn.thread_id, waiting.thread_id}),
        ({"metadata": {"kind": "hand_off"}, "status": "idle"}, set()),
        ({"metadata": {"langgraph": "something"}}, set()),
    ]
    for wanted, expected in searches:
        found = await tool.client.threads.search(**wanted)
        assert {thread["thread_id"] for thread in found} == expected, wanted
        assert await tool.client.threads.count(**wanted) == len(expected), wanted
    ids = [other.thread_id, "conv_0", "e2496803-ecd5-4e0c-a779-3226296181c2"]
    assert [thread["thread_id"] for thread in await tool.client.threads.search(ids=ids)] == [other.thread_id]


async def test_threads_come_in_the_order_that_is_asked_for_page_by_page(tool: Tool) -> None:
    made = [(await tool.scene.answered("office timings")).thread_id for _ in range(3)]
    # The oldest is heard of last.
    await tool.scene.rows(
        "UPDATE core.runs SET finished_at = clock_timestamp() WHERE thread_id = %s RETURNING 1", made[0]
    )
    orders: list[tuple[dict[str, Any], list[str]]] = [
        ({}, made[::-1]),
        ({"sort_by": "created_at", "sort_order": "asc"}, made),
        ({"sort_by": "updated_at"}, [made[0], made[2], made[1]]),
        ({"sort_by": "thread_id", "sort_order": "asc"}, sorted(made)),
    ]
    for order, expected in orders:
        pages = [await tool.client.threads.search(limit=1, offset=place, **order) for place in range(4)]
        assert [thread["thread_id"] for page in pages for thread in page] == expected, order


async def test_a_tool_gets_the_fields_that_it_selects(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    (thread,) = await tool.client.threads.search(status="interrupted", select=["thread_id", "status"])
    assert thread == {"thread_id": waiting.thread_id, "status": "interrupted"}
    (thread,) = await tool.client.threads.search(status="interrupted", select=["interrupts"])
    assert list(thread) == ["interrupts"]


async def test_a_thread_of_a_graph_that_is_gone_is_listed_without_its_state(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    await tool.scene.rows("UPDATE core.runs SET graph = 'of_old' WHERE id = %s RETURNING 1", turn.run_id)
    (thread,) = await tool.client.threads.search()
    assert (thread["metadata"]["graph_id"], thread["values"]) == ("of_old", {})
    with pytest.raises(NotFoundError, match="no graph 'of_old'"):
        await tool.client.threads.get_state(turn.thread_id)


async def test_a_copy_goes_the_same_way_and_nothing_of_it_leaves(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    await tool.client.runs.create(waiting.thread_id, "hand_off", command={"resume": REPLY})
    await tool.scene.advance()
    sent = await tool.scene.sent()
    copied: Any = await tool.client.threads.copy(waiting.thread_id)
    assert (copied["status"], copied["metadata"]["kind"]) == ("busy", "replay")
    await tool.scene.advance()
    run = await tool.scene.run(copied["thread_id"])
    assert (run["outcome"], [effect["kind"] for effect in run["effects"]]) == ("dry_run", ["send", "hand_back"])
    copied, original = [await tool.client.threads.get(one) for one in (copied["thread_id"], waiting.thread_id)]
    assert copied["values"]["answer"] == original["values"]["answer"] == REPLY
    assert await tool.scene.sent() == sent


async def test_a_copy_of_a_thread_that_waits_ends_where_it_would_wait(tool: Tool) -> None:
    _, waiting = await tool.scene.handed_off()
    copied: Any = await tool.client.threads.copy(waiting.thread_id)
    await tool.scene.advance()
    copied = await tool.client.threads.get(copied["thread_id"])
    assert (copied["status"], copied["interrupts"]) == ("idle", {})
    assert (await tool.client.threads.get_state(copied["thread_id"]))["next"] == ["wait"]
    assert (await tool.client.threads.get(waiting.thread_id))["status"] == "interrupted"


async def test_a_copy_under_one_idempotency_key_is_made_once(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    headers = {"Idempotency-Key": "copy-1"}
    first: Any = await tool.client.threads.copy(turn.thread_id, headers=headers)
    second: Any = await tool.client.threads.copy(turn.thread_id, headers=headers)
    assert first["thread_id"] == second["thread_id"]
    assert await tool.client.threads.count() == 2


async def test_what_has_not_begun_cannot_be_copied(tool: Tool) -> None:
    await tool.scene.hear("office timings")
    (run,) = await tool.scene.rows("SELECT thread_id FROM core.runs")
    before = await tool.scene.everything()
    with pytest.raises(ConflictError, match="has not begun"):
        await tool.client.threads.copy(run["thread_id"])
    assert await tool.scene.everything() == before
    thread = await tool.client.threads.get(run["thread_id"])
    assert (thread["status"], thread["values"]) == ("busy", {})


async def test_threads_are_not_found_by_what_nobody_looks_at(tool: Tool) -> None:
    threads = tool.client.threads
    for attempt, named in (
        (threads.search(values={"owner": "agent"}), "not found by their state"),
        (threads.count(values={"owner": "agent"}), "not found by their state"),
        (threads.search(extract={"last": "values.messages[-1]"}), "nothing is extracted"),
        (threads.search(limit=1_000_000), "body.limit"),
        (threads.search(sort_by="state_updated_at"), "body.sort_by"),
        (threads.search(metadata={"kind": "a\x00b"}), "U.0000"),
        (threads.search(ids=["a b"]), "body.ids"),
    ):
        with pytest.raises(UnprocessableEntityError, match=named):
            await attempt


async def test_threads_are_not_made_changed_deleted_or_streamed_as_such(tool: Tool) -> None:
    turn = await tool.scene.answered("office timings")
    before, threads = await tool.scene.everything(), tool.client.threads
    for attempt, why in (
        (threads.create(), "come from conversations"),
        (threads.update(turn.thread_id, metadata={"mine": 1}), "not written by callers"),
        (threads.delete(turn.thread_id), "not deleted"),
        (threads.prune([turn.thread_id]), "not deleted"),
        (anext(await threads.join_stream(turn.thread_id)), "runs.join_stream"),
    ):
        with pytest.raises(APIStatusError, match=why) as refused:
            await attempt
        assert refused.value.status_code == 405
    assert await tool.scene.everything() == before
