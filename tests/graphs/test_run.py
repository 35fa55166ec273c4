import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from langgraph.runtime import RunControl

from core.crypto import Sealer
from core.errors import FenceLost
from core.ids import TenantId, new_id
from db.pools import Database
from db.transactions import queue_tx, tenant_tx
from graphs.run import run_claimed
from graphs.run_claim import ClaimedRun, KeptRuns, claim_runs, extend_runs
from graphs.run_commit import RunResult, commit_run
from graphs.run_start import Pins, RunStart, start_run
from graphs.runtime import RunRuntime
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from models.offline.chat import OfflineChatModel
from prompts.loader import prompt_refs
from tests.builders import Organisation, a_number, a_text, an_organisation, receive, rows
from tests.conftest import Stack

ARTICLES = [
    Article(
        id="tax-receipt", title="Tax receipts for donations (80G)", language="en", tags=("tax",),
        questions=("Can I get a tax receipt for my donation?", "80G receipt", "how do I get my receipt", "tax benefit"),
        body="Yes. Every donation of 100 rupees or more gets an 80G tax receipt by e-mail within two working days.\n\n"
        "We need your PAN for it. Without a PAN we can only send a plain acknowledgement.",
        updated=None,
    ),
    Article(
        id="timings", title="When our offices are open", language="en", tags=("office",),
        questions=("What are your office hours?", "office timings", "when are you open", "opening time"),
        body="Our offices are open from 10:00 to 18:00, Monday to Saturday. On public holidays they are closed.",
        updated=None,
    ),
]  # fmt: skip


@pytest.fixture
async def organisation(stack: Stack, sealer: Sealer, database: Database) -> AsyncIterator[Organisation]:
    made = an_organisation(stack.admin_url, sealer)
    await publish_articles(database, made.tenant_id, ARTICLES, local_embedder())
    yield made
    await rows(
        database, made.tenant_id, "UPDATE core.runs SET state = 'cancelled' WHERE state <> 'waiting' RETURNING 1"
    )


@pytest.fixture
def runtime(database: Database) -> RunRuntime:
    return RunRuntime(
        database=database,
        pins=Pins(prompt_refs(), "offline"),
        chat_model=OfflineChatModel(),
        embedder=local_embedder(),
        effects_queued=lambda _tenant, _conversation: None,
    )


async def claimed(database: Database, tenant_id: TenantId) -> ClaimedRun:
    """The due turn of this tenant; turns that other tests left are passed over."""
    while turns := await claim_runs(database, worker="test", limit=10):
        for turn in turns:
            if turn.tenant_id == tenant_id:
                return turn
    raise AssertionError("no turn is due")


async def answer(runtime: RunRuntime, organisation: Organisation) -> ClaimedRun:
    turn = await claimed(runtime.database, organisation.tenant_id)
    await run_claimed(runtime, turn, RunControl())
    return turn


async def let_leases_end(database: Database, tenant_id: TenantId) -> None:
    async with queue_tx(database, commit="test") as connection:
        await connection.execute(
            "UPDATE core.conversation_leases SET lease_until = clock_timestamp() - interval '1 s' WHERE tenant_id = %s",
            (tenant_id,),
        )
        await connection.execute(
            "UPDATE core.runs SET lease_until = clock_timestamp() - interval '1 s' WHERE tenant_id = %s", (tenant_id,)
        )


async def replies(database: Database, organisation: Organisation) -> list[dict[str, Any]]:
    return await rows(
        database, organisation.tenant_id,
        "SELECT text, status, citations FROM messages WHERE direction = 'outbound' ORDER BY sequence",
    )  # fmt: skip


async def run_row(database: Database, organisation: Organisation, turn: ClaimedRun) -> dict[str, Any]:
    (row,) = await rows(database, organisation.tenant_id, "SELECT * FROM core.runs WHERE id = %s", turn.run_id)
    return row


async def test_a_question_is_answered_word_for_word_with_its_source(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("Can I get a tax receipt for my donation?", sender=a_number()))
    turn = await answer(runtime, organisation)
    (reply,) = await replies(database, organisation)
    assert (
        "Every donation of 100 rupees or more gets an 80G tax receipt by e-mail within two working days."
        in reply["text"]
    )
    assert "Tax receipts for donations (80G)" in reply["text"]
    assert reply["citations"][0]["article_id"] == "tax-receipt"
    effects = await rows(database, organisation.tenant_id, "SELECT kind, state FROM core.effects ORDER BY created_at")
    assert effects == [{"kind": "read_and_typing", "state": "queued"}, {"kind": "send", "state": "queued"}]
    row = await run_row(database, organisation, turn)
    assert (row["state"], row["outcome"], row["prompt_refs"]) == ("succeeded", "answered", prompt_refs())
    answered = await rows(database, organisation.tenant_id, "SELECT run_id FROM messages WHERE direction = 'inbound'")
    assert answered == [{"run_id": turn.run_id}]


async def test_each_step_is_recorded_with_its_author_and_what_it_changed(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    await receive(runtime.database, sealer, organisation, a_text("office timings", sender=a_number()))
    turn = await answer(runtime, organisation)
    steps = await rows(
        runtime.database, organisation.tenant_id,
        """SELECT position, node, namespace, author, prompt_ref, state_diff FROM core.run_steps
           WHERE run_id = %s ORDER BY 1""",
        turn.run_id,
    )  # fmt: skip
    assert [step["position"] for step in steps] == list(range(len(steps)))
    top = [step for step in steps if not step["namespace"]]
    assert [step["node"] for step in top] == ["recall", "triage", "reply", "guard", "emit"]
    assert top[1]["prompt_ref"] == f"triage/classify@{prompt_refs()['triage/classify']}"
    assert "recalled" in top[0]["state_diff"]
    assert all("trail" in step["state_diff"] for step in top)


async def test_what_nobody_wrote_about_is_handed_to_a_person_once(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    sender = a_number()
    for text in ("What is the meaning of life?", "But what about the universe?"):
        await receive(runtime.database, sealer, organisation, a_text(text, sender=sender))
        await answer(runtime, organisation)
    assert len(await replies(runtime.database, organisation)) == 1
    (conversation,) = await rows(runtime.database, organisation.tenant_id, "SELECT owner FROM conversations")
    assert conversation["owner"] == "awaiting_person"


async def test_five_messages_get_one_reply_that_covers_them(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    sender = a_number()
    texts = [
        "Hi",
        "I gave money last week",
        "can I get a tax receipt for my donation?",
        "what are your office hours?",
        "thanks",
    ]
    for index, text in enumerate(texts):
        await receive(
            runtime.database, sealer, organisation, a_text(text, sender=sender, timestamp=1_790_000_000 + index)
        )
    turn = await answer(runtime, organisation)
    (reply,) = await replies(runtime.database, organisation)
    assert "80G tax receipt" in reply["text"]
    assert "10:00 to 18:00" in reply["text"]
    answered = await rows(
        runtime.database, organisation.tenant_id, "SELECT DISTINCT run_id FROM messages WHERE direction = 'inbound'"
    )
    assert answered == [{"run_id": turn.run_id}]


async def test_a_reply_that_a_newer_message_overtook_is_not_sent(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database, sender = runtime.database, a_number()
    await receive(database, sealer, organisation, a_text("office timings", sender=sender))
    turn = await claimed(database, organisation.tenant_id)
    given = await start_run(database, turn, runtime.pins)
    assert isinstance(given, RunStart)
    await receive(database, sealer, organisation, a_text("and the 80G receipt?", sender=sender))
    late = {"kind": "send", "slot": "reply", "delivery": "at_least_once", "citations": [], "message": {
        "kind": "text", "to": {"kind": "wa_id", "value": sender}, "text": "beside the point"}}  # fmt: skip
    assert await commit_run(database, turn, given, RunResult([late])) == "superseded"
    assert await replies(database, organisation) == []
    await answer(runtime, organisation)
    (reply,) = await replies(database, organisation)
    assert "10:00 to 18:00" in reply["text"]
    assert "80G tax receipt" in reply["text"]


async def test_a_person_who_takes_over_during_a_turn_is_not_talked_over(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))
    turn = await claimed(database, organisation.tenant_id)
    given = await start_run(database, turn, runtime.pins)
    assert isinstance(given, RunStart)
    await rows(database, organisation.tenant_id, "UPDATE conversations SET owner = 'person' RETURNING id")
    effect = {"kind": "send", "slot": "reply", "delivery": "at_least_once", "message": {
        "kind": "text", "to": given.values["recipient"], "text": "too late"}}  # fmt: skip
    assert await commit_run(database, turn, given, RunResult([effect])) == "person_took_over"
    assert await replies(database, organisation) == []


async def test_a_zombie_commits_nothing_once_another_process_has_the_conversation(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))
    zombie = await claimed(database, organisation.tenant_id)
    given = await start_run(database, zombie, runtime.pins)
    assert isinstance(given, RunStart)
    await let_leases_end(database, organisation.tenant_id)
    heir = await claimed(database, organisation.tenant_id)
    assert (heir.run_id, heir.fence, heir.attempts) == (zombie.run_id, zombie.fence + 1, 2)
    assert await extend_runs(database, [zombie]) == KeptRuns(held=set(), cancelled=set())
    with pytest.raises(FenceLost):
        await commit_run(database, zombie, given, RunResult())
    with pytest.raises(FenceLost):
        await start_run(database, zombie, runtime.pins)
    await run_claimed(runtime, heir, RunControl())
    assert len(await replies(database, organisation)) == 1


async def test_a_run_that_is_claimed_again_after_its_graph_ended_sends_one_reply(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies between the last checkpoint and the commit of the turn."""
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))
    first = await claimed(database, organisation.tenant_id)

    async def die(*_: object) -> None:
        raise FenceLost("as if the process had died here")

    with monkeypatch.context() as patched:
        patched.setattr("graphs.run.commit_run", die)
        await run_claimed(runtime, first, RunControl())
    assert await replies(database, organisation) == []
    await let_leases_end(database, organisation.tenant_id)
    second = await claimed(database, organisation.tenant_id)
    await run_claimed(runtime, second, RunControl())
    (reply,) = await replies(database, organisation)
    assert "10:00 to 18:00" in reply["text"]
    (count,) = await rows(
        database, organisation.tenant_id,
        "SELECT count(*) AS n FROM checkpoints WHERE checkpoint_ns = '' AND metadata->>'source' = 'input'",
    )  # fmt: skip
    assert count["n"] == 1


async def test_a_message_is_answered_while_another_run_of_its_conversation_waits(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database, sender = runtime.database, a_number()
    await receive(database, sealer, organisation, a_text("office timings", sender=sender))
    await answer(runtime, organisation)
    waiting = new_id("run")
    await rows(
        database, organisation.tenant_id,
        """INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, due_at)
           SELECT %s, current_user, id, 'reconciliation', 'reconciliation', %s, 'waiting', 'infinity'
           FROM conversations RETURNING id""",
        waiting, waiting,
    )  # fmt: skip
    await receive(database, sealer, organisation, a_text("how do I get my receipt", sender=sender))
    turn = await answer(runtime, organisation)
    assert len(await replies(database, organisation)) == 2
    row = await run_row(database, organisation, turn)
    assert row["input"]["waiting"] == [{"run_id": waiting, "graph": "reconciliation", "questions": []}]
    (kept,) = await rows(
        database, organisation.tenant_id, "SELECT state, thread_id FROM core.runs WHERE id = %s", waiting
    )
    assert kept == {"state": "waiting", "thread_id": waiting}


async def test_a_run_that_fails_again_and_again_is_dead_and_a_person_is_asked_for(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))

    async def fail(*_: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("graphs.run.start_run", fail)
    for _ in range(5):
        turn = await claimed(database, organisation.tenant_id)
        await run_claimed(runtime, turn, RunControl())
        await let_leases_end(database, organisation.tenant_id)
    row = await run_row(database, organisation, turn)
    assert (row["state"], row["attempts"]) == ("dead", 5)
    assert "a defect" in row["error"]
    assert await rows(database, organisation.tenant_id, "SELECT owner FROM conversations") == [
        {"owner": "awaiting_person"}
    ]


async def test_a_drained_turn_is_let_go_and_goes_on_elsewhere_without_costing_an_attempt(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))
    control = RunControl()
    control.request_drain("the worker stops")
    turn = await claimed(database, organisation.tenant_id)
    await run_claimed(runtime, turn, control)
    assert await replies(database, organisation) == []
    again = await claimed(database, organisation.tenant_id)
    assert (again.run_id, again.attempts) == (turn.run_id, 1)
    await run_claimed(runtime, again, RunControl())
    assert len(await replies(database, organisation)) == 1


async def test_two_claims_at_once_never_take_one_conversation_twice(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer
) -> None:
    database = runtime.database
    senders = [a_number() for _ in range(6)]
    for sender in senders:
        await receive(database, sealer, organisation, a_text("office timings", sender=sender))
    mine: list[str] = []
    # One that is locked by the other at this moment is left to the next claim.
    while any(batches := await asyncio.gather(*(claim_runs(database, worker=f"w{n}", limit=4) for n in range(6)))):
        mine += [run.run_id for batch in batches for run in batch if run.tenant_id == organisation.tenant_id]
    assert len(mine) == len(set(mine)) == 6
    async with tenant_tx(database, organisation.tenant_id, commit="test") as connection:
        cursor = await connection.execute("SELECT DISTINCT fence FROM core.conversation_leases")
        assert [row["fence"] for row in await cursor.fetchall()] == [1]


async def test_a_turn_that_the_database_interrupted_goes_on_without_losing_an_attempt(
    runtime: RunRuntime, organisation: Organisation, sealer: Sealer, stack: Stack
) -> None:
    database = runtime.database
    await receive(database, sealer, organisation, a_text("office timings", sender=a_number()))
    turn = await claimed(database, organisation.tenant_id)
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chowk tests'")
    await run_claimed(runtime, turn, RunControl())
    if not await replies(database, organisation):
        await let_leases_end(database, organisation.tenant_id)
        again = await claimed(database, organisation.tenant_id)
        assert (again.run_id, again.attempts) == (turn.run_id, 1)
        await run_claimed(runtime, again, RunControl())
    assert len(await replies(database, organisation)) == 1
