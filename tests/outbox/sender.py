"""A sender in a process of its own: `python -m tests.outbox.sender LANE` delivers one round and ends.

`CHOWK_FAULT` says where it is killed.
"""

import asyncio
import sys

from core.crypto import Sealer
from core.http import provider_client
from core.settings import DatabaseSettings, MetaSettings, SecretSettings, load
from db.pools import open_database
from outbox.begin import Sending
from outbox.deliver import Outbox, send, take_up_due


async def main(lane: str) -> None:
    database = await open_database(load(DatabaseSettings), application="sender")
    client = provider_client(load(MetaSettings).graph_url)
    outbox = Outbox(database, Sealer(load(SecretSettings).key()), {"whatsapp": client})
    async with asyncio.TaskGroup() as group:

        def start(sending: Sending) -> None:
            group.create_task(send(outbox, sending))

        await take_up_due(outbox, lanes=[lane], limit=16, start=start)
    await client.aclose()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
