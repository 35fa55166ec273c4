"""A tool that speaks the agent protocol: a turn is copied, a run that waits is forked, answered in its fork, ended."""

from typing import Any

import httpx

from tests.builders import a_text
from tests.crash.world import TIMESTAMP, WONDERS, World

WAITS = "SELECT id, conversation_id FROM core.runs WHERE kind = 'hand_off'"
ANSWER = {"assistant_id": "hand_off", "command": {"resume": {"action": "reply", "text": "A colleague says: 42."}}}


async def tools(world: World) -> None:
    asked = a_text("What is the meaning of life?", sender=WONDERS, wamid="wamid.wonders", timestamp=TIMESTAMP)
    await world.receive(asked)
    await world.work()
    (waiting,) = await world.rows(WAITS)
    thread = f"/agent/threads/{waiting['id']}"
    async with world.api() as api:
        await _ask(api, f"/agent/threads/{waiting['conversation_id']}/copy")
        forked = await _ask(api, f"{thread}/state", {"values": {}})
        await world.work()
        await _ask(api, f"/agent/threads/{forked['run_id']}/runs", ANSWER)
        await world.work()
        await _ask(api, f"{thread}/runs/{waiting['id']}/cancel")
    await world.provider_speaks()
    await world.work()
    await world.window_passes()
    await world.work()
    await world.provider_speaks()
    await world.work()


async def _ask(api: httpx.AsyncClient, path: str, body: object = None) -> Any:
    """Whoever asks again because nobody answered gives the same key, so that it is done once."""
    answer = await api.post(path, json=body, headers={"Idempotency-Key": path})
    assert answer.is_success, answer.text
    return answer.json() if answer.content else None
