"""An operator's day: knowledge is published, a run is forked from its middle, dead letters are settled."""

from core.ids import RunId
from db.transactions import tenant_tx
from graphs.dead_letter_acts import Act, act_on
from graphs.dead_letters import list_dead_letters, parse_letter_id
from graphs.fork_commands import fork
from memory.articles import Article
from memory.publishing import publish_articles
from models.embedder import local_embedder
from tests.builders import a_text
from tests.crash.troubles import troubles
from tests.crash.world import ASKS, TIMESTAMP, World

ARTICLE = Article(
    id="parking", title="Where to park", language="en", tags=("office",), questions=("Where can I park?",),
    body="You can park behind the house. It costs nothing.", updated=None,
)  # fmt: skip

FORKED = "SELECT 1 FROM core.runs WHERE kind = 'fork'"
MIDDLE = """
SELECT s.run_id, s.checkpoint_id FROM core.run_steps s JOIN core.runs r ON r.id = s.run_id
WHERE r.kind = 'turn' AND s.node = 'triage' AND s.namespace = '' ORDER BY s.run_id LIMIT 1
"""


async def operators(world: World) -> None:
    await publish_articles(world.database, world.tenant_id, [ARTICLE], local_embedder())
    await world.receive(a_text("Where can I park?", sender=ASKS, wamid="wamid.parks", timestamp=TIMESTAMP))
    await world.work()
    await _fork(world)
    await world.provider_speaks()
    await world.work()
    await troubles(world)
    await _settle(world)


async def _fork(world: World) -> None:
    if not await world.rows(FORKED):
        (middle,) = await world.rows(MIDDLE)
        async with tenant_tx(world.database, world.tenant_id, commit="test") as connection:
            await fork(
                connection, RunId(middle["run_id"]), checkpoint_id=middle["checkpoint_id"],
                values={"summary": "edited"}, by="test",
            )  # fmt: skip
    await world.work()


async def _settle(world: World) -> None:
    """Try each once more, then let it go."""
    for verb in ("retry", "discard"):
        for letter in await list_dead_letters(world.database, world.tenant_id, limit=50):
            await act_on(world.database, world.tenant_id, parse_letter_id(letter.id), Act(verb, by="test"))
        if verb == "retry":
            await troubles(world)
