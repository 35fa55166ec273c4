"""Arranging one dead letter of every kind."""

from dataclasses import dataclass

from core.crypto import Sealer
from core.ids import TenantId, new_id
from db.pools import Database
from db.transactions import tenant_tx
from tests.builders import Organisation, an_organisation
from tests.inbox.dead import a_dead_body, a_dead_event, a_dead_job
from tests.outbox.scene import Provider, Scene


@dataclass(frozen=True, slots=True)
class Buried:
    """An organisation with dead letters; the ids as an operator writes them."""

    organisation: Organisation
    body: str
    event: str
    job: str
    effect: str
    run: str

    @property
    def tenant_id(self) -> TenantId:
        return self.organisation.tenant_id

    @property
    def ids(self) -> set[str]:
        return {self.body, self.event, self.job, self.effect, self.run}


async def a_dead_run(database: Database, tenant_id: TenantId, conversation_id: str, *, state: str = "dead") -> str:
    """A turn that was given up; gives its id."""
    run_id = new_id("run")
    async with tenant_tx(database, tenant_id, commit="test") as connection:
        await connection.execute(
            "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (conversation_id, tenant_id),
        )
        await connection.execute(
            """
            INSERT INTO core.runs (id, tenant_id, conversation_id, kind, graph, thread_id, state, attempts, error,
                                   started_at, finished_at)
            VALUES (%s, %s, %s, 'turn', 'conversation', %s, %s, 5, 'given up after 5 attempts', now(), now())
            """,
            (run_id, tenant_id, conversation_id, conversation_id, state),
        )
    return run_id


async def a_parked_effect(scene: Scene, text: str = "Namaste") -> tuple[str, str]:
    """An effect of unclear outcome in a conversation of its own; gives the ids of both."""
    conversation = await scene.a_conversation()
    key = await scene.queue(conversation, text, delivery="at_most_once")
    await scene.set_effect(key, "state = 'parked', attempts = 1, error = 'the provider never said what became of it'")
    await scene.rows("UPDATE messages SET status = 'unknown' WHERE effect_key = %s", key)
    return (await scene.effect(key))["id"], conversation


async def one_of_each(database: Database, sealer: Sealer, admin_url: str) -> Buried:
    """An organisation with one dead letter of every kind."""
    organisation = an_organisation(admin_url, sealer)
    scene = Scene(database, sealer, organisation.tenant_id, organisation.account_id, Provider())
    body = await a_dead_body(database, sealer, organisation.account_id, organisation.tenant_id)
    event = await a_dead_event(database, sealer, organisation)
    job = await a_dead_job(database, organisation.tenant_id)
    effect, conversation = await a_parked_effect(scene)
    run = await a_dead_run(database, organisation.tenant_id, conversation)
    return Buried(organisation, f"body:{body}", f"event:{event}", f"job:{job}", f"effect:{effect}", f"run:{run}")


async def put_away(database: Database, buried: Buried) -> None:
    """Leave nothing that a worker of another test would take up."""
    async with tenant_tx(database, buried.tenant_id, commit="test") as connection:
        await connection.execute("UPDATE core.inbox_events SET state = 'discarded' WHERE state = 'new'")
        await connection.execute("UPDATE core.inbox SET state = 'discarded' WHERE state = 'new'")
        await connection.execute("UPDATE core.runs SET state = 'cancelled' WHERE state = 'queued'")
