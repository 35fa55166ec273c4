import asyncio
import os
import signal
import sys

import httpx
import pytest

from core.ids import new_id
from outbox.policy import UNKNOWN_WINDOW_S
from tests.outbox.provider_server import Received, a_provider
from tests.outbox.scene import Scene
from tests.outbox.test_deliver import A_TAKEOVER, status_comes

#: A lease, or a time to wait, that is over. By hand, so that no test waits.
LEASE_OVER = "lease_until = now() - interval '1 second'"
WINDOW_OVER = "due_at = now() - interval '1 hour'"


async def kill_a_sender_at(fault: str, scene: Scene, provider: Received) -> None:
    environment = os.environ | {"CHOWK_FAULT": fault, "CHOWK_META_GRAPH_URL": provider.url}
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.outbox.sender", scene.lane, env=environment
    )
    assert await sender.wait() == -signal.SIGKILL


async def test_a_sender_killed_before_its_answer_is_settled_by_the_status_alone(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    with a_provider() as provider:
        await kill_a_sender_at("outbox.outcome.before_commit", scene, provider)
    assert len(provider.bodies) == 1
    assert (await scene.effect(key))["state"] == "sending"

    await scene.set_effect(key, LEASE_OVER)
    assert await scene.deliver() == 0
    effect = await scene.effect(key)
    assert effect["state"] == "unknown"
    assert (await scene.message(key) or {})["status"] == "unknown"

    await status_comes(scene, "delivered", wamid="wamid.1", correlation=provider.bodies[0]["biz_opaque_callback_data"])
    assert (await scene.effect(key))["state"] == "sent"
    message = await scene.message(key)
    assert message is not None
    assert (message["status"], message["provider_message_id"]) == ("delivered", "wamid.1")

    await scene.set_effect(key, WINDOW_OVER)
    assert await scene.deliver() == 0
    assert scene.provider.bodies == []


async def test_a_sender_killed_before_the_socket_opened_sends_nothing_and_the_message_still_arrives(
    scene: Scene,
) -> None:
    key = await scene.queue(await scene.a_conversation(), "Namaste")
    with a_provider() as provider:
        await kill_a_sender_at("outbox.begin.after_commit", scene, provider)
    assert provider.bodies == []
    await scene.set_effect(key, LEASE_OVER)
    await scene.deliver()
    await scene.set_effect(key, WINDOW_OVER)
    await scene.deliver()
    assert await scene.deliver() == 1
    assert scene.provider.texts == ["Namaste"]
    assert (await scene.effect(key))["state"] == "sent"


@pytest.mark.parametrize(
    "fault", ["outbox.claim.before_commit", "outbox.claim.after_commit", "outbox.begin.before_commit"]
)
async def test_a_sender_killed_before_sending_was_committed_leaves_the_message_queued(scene: Scene, fault: str) -> None:
    key = await scene.queue(await scene.a_conversation())
    with a_provider() as provider:
        await kill_a_sender_at(fault, scene, provider)
    assert provider.bodies == []
    effect = await scene.effect(key)
    assert (effect["state"], effect["attempts"]) == ("queued", 0)
    await scene.set_effect(key, LEASE_OVER)
    assert await scene.deliver() == 1


async def test_the_time_for_the_providers_word_begins_when_the_loss_is_seen(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation())
    await scene.take_up()
    await scene.set_effect(key, f"{LEASE_OVER}, sending_at = now() - interval '1 hour'")
    await scene.deliver()
    [row] = await scene.rows(
        "SELECT due_at > now() + make_interval(secs => %s) AS waits FROM core.effects WHERE key = %s",
        UNKNOWN_WINDOW_S - 10, key,
    )  # fmt: skip
    assert row["waits"]


async def test_an_at_least_once_message_is_sent_again_once_under_the_same_key_and_then_parked(scene: Scene) -> None:
    scene.provider.script = [httpx.ReadTimeout("no answer"), httpx.ReadTimeout("no answer")]
    key = await scene.queue(await scene.a_conversation())
    await scene.deliver()
    for _ in range(2):
        await scene.set_effect(key, WINDOW_OVER)
        await scene.deliver()
        await scene.deliver()
    assert [body["biz_opaque_callback_data"] for body in scene.provider.bodies] == [key, key]
    effect = await scene.effect(key)
    assert (effect["state"], effect["resends"]) == ("parked", 1)
    assert (await scene.message(key) or {})["status"] == "unknown"


async def test_an_at_most_once_message_is_parked_and_never_sent_again(scene: Scene) -> None:
    scene.provider.script = [httpx.ReadTimeout("no answer")]
    key = await scene.queue(await scene.a_conversation(), delivery="at_most_once")
    await scene.deliver()
    await scene.set_effect(key, WINDOW_OVER)
    await scene.deliver()
    assert await scene.deliver() == 0
    assert (await scene.effect(key))["state"] == "parked"
    assert len(scene.provider.bodies) == 1


async def test_a_message_that_may_have_left_stays_in_the_transcript_when_a_person_takes_over(scene: Scene) -> None:
    scene.provider.script = [httpx.ReadTimeout("no answer")]
    conversation = await scene.a_conversation()
    key = await scene.queue(conversation)
    await scene.deliver()
    await scene.set_effect(key, WINDOW_OVER)
    await scene.deliver()
    await scene.rows(A_TAKEOVER, conversation)
    assert await scene.deliver() == 0
    assert (await scene.effect(key))["state"] == "superseded"
    assert (await scene.message(key) or {})["status"] == "unknown"


async def test_a_sign_of_reading_whose_sender_died_is_never_unknown(scene: Scene) -> None:
    key = await scene.queue_sign_of_reading(await scene.a_conversation())
    await scene.take_up()
    await scene.set_effect(key, LEASE_OVER)
    await scene.deliver()
    assert (await scene.effect(key))["state"] == "failed"


async def test_a_parked_message_is_settled_by_a_status_that_comes_late(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation(), delivery="at_most_once")
    await scene.set_effect(key, "state = 'parked'")
    await status_comes(scene, "sent", wamid=new_id("wamid"), correlation=key)
    assert (await scene.effect(key))["state"] == "sent"
