import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from core.errors import Conflict, NotFound
from core.ids import ConversationId, EffectId, new_id
from db.provision import create_tenant
from db.transactions import tenant_tx
from outbox.effects import Delivery
from outbox.parked import discard_effect, mark_sent, retry_effect
from outbox.policy import ATTEMPTS_MAX
from tests.outbox.scene import Scene, refused
from tests.outbox.test_deliver import A_TAKEOVER, status_comes
from tests.outbox.test_settle import WINDOW_OVER

A_TEXT = "Your receipt is on its way"
REFUSED_FOR_NOW = 131056


async def act(scene: Scene, key: str, what: Callable[..., Awaitable[None]], **values: Any) -> None:
    effect = await scene.effect(key)
    async with tenant_tx(scene.database, scene.tenant, commit="test") as connection:
        await what(connection, effect["id"], **values)


async def an_unclear_effect(
    scene: Scene, conversation: ConversationId | None = None, *, delivery: Delivery = "at_most_once"
) -> str:
    """Parked because the provider never said what became of it."""
    scene.provider.script = [httpx.ReadTimeout("no answer"), httpx.ReadTimeout("no answer")]
    key = await scene.queue(conversation or await scene.a_conversation(), A_TEXT, delivery=delivery)
    await scene.deliver()
    for _ in range(2):
        await scene.set_effect(key, WINDOW_OVER)
        await scene.deliver()
        await scene.deliver()
    scene.provider.script = []
    assert (await scene.effect(key))["state"] == "parked"
    return key


async def a_refused_effect(scene: Scene, conversation: ConversationId | None = None) -> str:
    """Parked because the provider refused it at every attempt."""
    scene.provider.script = [refused(REFUSED_FOR_NOW)]
    key = await scene.queue(conversation or await scene.a_conversation(), A_TEXT)
    await scene.set_effect(key, f"attempts = {ATTEMPTS_MAX - 1}")
    await scene.deliver()
    assert (await scene.effect(key))["state"] == "parked"
    return key


async def shown(scene: Scene, key: str) -> tuple[str, str | None]:
    """The effect's state and the message's status."""
    message = await scene.message(key)
    return (await scene.effect(key))["state"], None if message is None else message["status"]


async def test_an_unclear_message_is_sent_once_more_under_the_same_key_and_counted(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    await act(scene, key, retry_effect)
    assert await shown(scene, key) == ("queued", "unknown")
    effect = await scene.effect(key)
    assert (effect["resends"], effect["attempts"]) == (1, 0)
    assert effect["error"] == "the provider never said what became of it"
    assert await scene.deliver() == 1
    assert [body["biz_opaque_callback_data"] for body in scene.provider.bodies] == [key, key]
    assert await shown(scene, key) == ("sent", "sent")
    assert (await scene.effect(key))["error"] is None


async def test_a_message_retried_by_a_person_that_is_unclear_again_is_parked_and_not_sent_by_itself(
    scene: Scene,
) -> None:
    key = await an_unclear_effect(scene, delivery="at_least_once")
    await act(scene, key, retry_effect)
    scene.provider.script = [httpx.ReadTimeout("no answer")]
    await scene.deliver()
    await scene.set_effect(key, WINDOW_OVER)
    await scene.deliver()
    assert await scene.deliver() == 0
    assert await shown(scene, key) == ("parked", "unknown")
    assert (await scene.effect(key))["resends"] == 2


async def test_a_refused_message_is_queued_anew_with_all_its_attempts_and_without_its_fault(scene: Scene) -> None:
    key = await a_refused_effect(scene)
    assert await shown(scene, key) == ("parked", "failed")
    await act(scene, key, retry_effect)
    effect, message = await scene.effect(key), await scene.message(key)
    assert (effect["state"], effect["attempts"], effect["resends"]) == ("queued", 0, 0)
    assert message is not None
    assert (message["status"], message["faults"]) == ("queued", [])
    assert await scene.deliver() == 1
    assert await shown(scene, key) == ("sent", "sent")


async def test_what_may_have_left_before_it_was_refused_is_never_shown_as_merely_queued(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    await act(scene, key, retry_effect)
    scene.provider.script = [refused(REFUSED_FOR_NOW)]
    await scene.set_effect(key, f"attempts = {ATTEMPTS_MAX - 1}")
    await scene.deliver()
    assert await shown(scene, key) == ("parked", "failed")
    await act(scene, key, retry_effect)
    assert await shown(scene, key) == ("queued", "unknown")
    assert (await scene.effect(key))["resends"] == 2


async def test_a_status_that_comes_after_the_retry_settles_it_and_nothing_is_sent_again(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    await act(scene, key, retry_effect)
    await status_comes(scene, "delivered", wamid=new_id("wamid"), correlation=key)
    assert await shown(scene, key) == ("sent", "delivered")
    assert await scene.deliver() == 0
    assert len(scene.provider.bodies) == 1


async def test_a_retry_and_a_status_at_the_same_moment_end_in_sent_without_a_deadlock(scene: Scene) -> None:
    for _ in range(5):
        key = await an_unclear_effect(scene)
        await asyncio.gather(
            act(scene, key, retry_effect),
            status_comes(scene, "delivered", wamid=new_id("wamid"), correlation=key),
            return_exceptions=True,
        )
        assert await shown(scene, key) == ("sent", "delivered")


async def test_two_operators_at_once_send_it_once(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    outcomes = await asyncio.gather(*(act(scene, key, retry_effect) for _ in range(3)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Conflict", "NoneType"]
    assert (await scene.effect(key))["resends"] == 1


async def test_nothing_is_sent_from_a_stopped_account(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    await scene.rows("UPDATE core.accounts SET state = 'stopped', stop_reason = 'token' WHERE id = %s", scene.account)
    with pytest.raises(Conflict, match=rf"account {scene.account} is stopped: token"):
        await act(scene, key, retry_effect)
    assert await shown(scene, key) == ("parked", "unknown")


async def test_nothing_of_an_agent_is_sent_where_a_person_owns_the_conversation(scene: Scene) -> None:
    conversation = await scene.a_conversation()
    key = await an_unclear_effect(scene, conversation)
    await scene.rows(A_TAKEOVER, conversation)
    with pytest.raises(Conflict, match=rf"a person has taken .* {conversation}\); have it handed back"):
        await act(scene, key, retry_effect)
    assert await shown(scene, key) == ("parked", "unknown")
    await scene.set_effect(key, "run_id = NULL")
    await act(scene, key, retry_effect)
    assert await shown(scene, key) == ("queued", "unknown")


async def test_an_effect_whose_account_is_gone_can_only_be_let_go(scene: Scene) -> None:
    key = await scene.queue(await scene.a_conversation(), A_TEXT)
    await scene.set_effect(key, "account_id = 'acc_gone'")
    await scene.deliver()
    assert await shown(scene, key) == ("parked", "failed")
    with pytest.raises(Conflict, match="acc_gone is gone"):
        await act(scene, key, retry_effect)
    await act(scene, key, discard_effect, note="discarded by x")
    assert await shown(scene, key) == ("discarded", "failed")


async def test_a_sign_of_reading_that_was_parked_is_too_late(scene: Scene) -> None:
    key = await scene.queue_sign_of_reading(await scene.a_conversation())
    await scene.set_effect(key, "state = 'parked'")
    with pytest.raises(Conflict, match="too late"):
        await act(scene, key, retry_effect)
    with pytest.raises(Conflict, match="never left"):
        await act(scene, key, mark_sent)


async def test_an_operator_who_looked_says_that_it_was_sent(scene: Scene) -> None:
    key = await an_unclear_effect(scene)
    await act(scene, key, mark_sent)
    assert await shown(scene, key) == ("sent", "sent")
    assert (await scene.effect(key))["error"] is None
    await status_comes(scene, "read", wamid="wamid.late", correlation=key)
    message = await scene.message(key)
    assert message is not None
    assert (message["status"], message["provider_message_id"]) == ("read", "wamid.late")


async def test_what_certainly_never_left_cannot_be_called_sent(scene: Scene) -> None:
    key = await a_refused_effect(scene)
    with pytest.raises(Conflict, match="never left"):
        await act(scene, key, mark_sent)
    assert await shown(scene, key) == ("parked", "failed")


async def test_what_is_let_go_shows_as_failed_and_keeps_its_cause(scene: Scene) -> None:
    unclear, refused_one = await an_unclear_effect(scene), await a_refused_effect(scene)
    for key in (unclear, refused_one):
        cause = (await scene.effect(key))["error"]
        await act(scene, key, discard_effect, note="discarded by ak_1: a test")
        assert await shown(scene, key) == ("discarded", "failed")
        assert (await scene.effect(key))["error"] == f"{cause}; discarded by ak_1: a test"
    messages = [await scene.message(key) or {} for key in (unclear, refused_one)]
    assert [message["faults"][0]["code"] for message in messages] == ["discarded", str(REFUSED_FOR_NOW)]
    assert await scene.deliver() == 0


@pytest.mark.parametrize("what", [retry_effect, mark_sent, discard_effect])
async def test_only_what_is_parked_is_acted_upon(scene: Scene, what: Callable[..., Awaitable[None]]) -> None:
    note = {"note": ""} if what is discard_effect else {}
    key = await scene.queue(await scene.a_conversation(), A_TEXT)
    with pytest.raises(Conflict, match="is 'queued'"):
        await act(scene, key, what, **note)
    await scene.deliver()
    with pytest.raises(Conflict, match="is 'sent'"):
        await act(scene, key, what, **note)
    async with tenant_tx(scene.database, scene.tenant, commit="test") as connection:
        with pytest.raises(NotFound):
            await what(connection, EffectId(new_id("eff")), **note)


@pytest.mark.parametrize("what", [retry_effect, mark_sent, discard_effect])
async def test_another_tenants_effect_is_not_found_and_unchanged(
    scene: Scene, admin_url: str, what: Callable[..., Awaitable[None]]
) -> None:
    key = await an_unclear_effect(scene)
    effect = await scene.effect(key)
    stranger = create_tenant(admin_url, slug=new_id("slug").replace("_", "-"), name="Another")
    note = {"note": ""} if what is discard_effect else {}
    with pytest.raises(NotFound):
        async with tenant_tx(scene.database, stranger, commit="test") as connection:
            await what(connection, effect["id"], **note)
    assert await scene.effect(key) == effect
