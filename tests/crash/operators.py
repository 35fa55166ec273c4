"""An operator's day: knowledge is published, a run is forked from its middle, dead letters are settled."""

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
        await world.chowk(
            "runs", "fork", middle["run_id"], "--checkpoint", middle["checkpoint_id"], "--set", 'summary="edited"'
        )
    await world.work()


async def _settle(world: World) -> None:
    """Try each once more, then let it go."""
    async with world.api() as api:
        for verb in ("retry", "discard"):
            for letter in (await api.get("/v1/dead-letters?limit=50")).json()["items"]:
                settled = await api.post(f"/v1/dead-letters/{letter['id']}/{verb}")
                assert settled.status_code == 200, settled.text
            if verb == "retry":
                await troubles(world)
