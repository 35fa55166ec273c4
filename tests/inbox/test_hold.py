import asyncio
import random

from core.crypto import Sealer
from db.pools import Database
from inbox.explode import explode_due
from inbox.split import split_due
from tests.builders import a_body, a_change, a_number, a_status, a_text, a_wamid, an_organisation, receive, rows, store
from tests.conftest import Stack

WORKERS = 4
EVENTS = 160


async def test_workers_that_write_to_the_same_people_at_once_never_give_each_other_up(
    database: Database, sealer: Sealer, stack: Stack
) -> None:
    organisation = an_organisation(stack.admin_url, sealer)
    people, sent = [a_number() for _ in range(6)], [a_wamid() for _ in range(6)]
    await receive(database, sealer, organisation, *(a_text("hello", sender=person) for person in people))
    shuffled = random.Random(7)
    for number in range(EVENTS):
        person = shuffled.choice(people)
        messages = [a_text(f"message {number}", sender=person)]
        statuses = [a_status(shuffled.choice(sent), shuffled.choice(["sent", "read"]), recipient=person)]
        body = a_body([a_change(organisation.phone_number_id, messages=messages, statuses=statuses)])
        await store(database, sealer, organisation.account_id, body)
    while await split_due(database, sealer, limit=64):
        pass

    async def work() -> None:
        while await explode_due(database, sealer, limit=16):
            pass

    await asyncio.gather(*(work() for _ in range(WORKERS)))
    # An event whose transaction the database gave up is claimed again, under a higher fence.
    events = "SELECT state, fence, count(*) FROM core.inbox_events WHERE kind = 'message_received' GROUP BY 1, 2"
    assert await rows(database, organisation.tenant_id, events) == [
        {"state": "done", "fence": 1, "count": EVENTS + len(people)}
    ]
    assert len(await rows(database, organisation.tenant_id, "SELECT FROM messages")) == EVENTS + len(people)
