"""Journeys: each takes a piece of work from its beginning to its end, from wherever it stands now."""

from collections.abc import Awaitable, Callable, Mapping

from inbox.sweep import sweep
from tests.builders import a_text
from tests.crash.housekeeping import housekeeping
from tests.crash.operators import operators
from tests.crash.tools import tools
from tests.crash.troubles import troubles
from tests.crash.twenty_steps import twenty_steps
from tests.crash.world import ASKS, TIMESTAMP, WONDERS, World

Journey = Callable[[World], Awaitable[None]]

REPLY = {"action": "reply", "text": "A colleague has looked it up for you: 42."}
WAITING = "SELECT id FROM core.runs WHERE state = 'waiting' AND graph = 'hand_off'"


async def talk(world: World) -> None:
    """Do what is to be done, send what is to be sent, and hear what became of it."""
    await world.work()
    await world.provider_speaks()
    await world.work()
    await world.window_passes()
    await world.work()
    await world.provider_speaks()
    await world.work()


async def conversation(world: World) -> None:
    """One customer is answered; another is handed to a person, whose words are sent; every status comes back."""
    await world.receive(
        a_text("Can I get a tax receipt for my donation?", sender=ASKS, wamid="wamid.asks", timestamp=TIMESTAMP),
        a_text("What is the meaning of life?", sender=WONDERS, wamid="wamid.wonders", timestamp=TIMESTAMP),
    )
    await talk(world)
    async with world.api() as api:
        for run in await world.rows(WAITING):
            answered = await api.post(f"/v1/runs/{run['id']}/resume", json={"answer": REPLY})
            assert answered.status_code == 202, answered.text
    await talk(world)
    await sweep(world.database, world.sealer)


JOURNEYS: Mapping[str, Journey] = {
    "conversation": conversation,
    "twenty_steps": twenty_steps,
    "troubles": troubles,
    "operators": operators,
    "housekeeping": housekeeping,
    "tools": tools,
}
