"""What a worker process holds open for its whole life: pools, clients, the model, the embedder."""

import os
import socket
from dataclasses import dataclass

import httpx
from langchain_core.language_models import BaseChatModel

from checkpoints.saver import refuse_permissive_serialisation
from core.crypto import Sealer
from core.http import provider_client
from core.settings import DatabaseSettings, MetaSettings, ModelSettings, SecretSettings, load
from db.pools import Database, open_database
from db.probe import WORKER_APPLICATION
from db.transactions import queue_tx
from graphs.run_start import Pins
from models.chat import build_chat_model, engine_of
from models.embedder import Embedder, local_embedder
from models.prices import Price, price_of
from outbox.deliver import Outbox
from prompts.loader import prompt_refs, record_prompts


@dataclass(frozen=True, slots=True)
class Runtime:
    """Open it once per process, inside the event loop that uses it."""

    database: Database
    sealer: Sealer
    outbox: Outbox
    chat_model: BaseChatModel
    embedder: Embedder
    pins: Pins
    price: Price
    #: Names this process on the rows it claims: `host:pid`.
    worker: str

    async def close(self) -> None:
        """Close every connection."""
        for client in self.outbox.clients.values():
            await client.aclose()
        await self.database.close()


async def open_runtime() -> Runtime:
    """Open the connections, load the models and keep the texts of this deployment's prompts.

    Raises:
        SettingInvalid: a setting is wrong, or the login is not an ordinary one.
        psycopg_pool.PoolTimeout, DatabaseUnavailable: the database does not answer.
    """
    refuse_permissive_serialisation()
    sealer = Sealer(load(SecretSettings).key())
    chat_model = build_chat_model(load(ModelSettings))
    embedder = local_embedder()
    await embedder.warm_up()
    database = await open_database(load(DatabaseSettings), application=WORKER_APPLICATION.removeprefix("chowk "))
    try:
        async with queue_tx(database, commit="prompts.record") as connection:
            await record_prompts(connection)
    except BaseException:
        await database.close()
        raise
    return Runtime(
        database=database,
        sealer=sealer,
        outbox=Outbox(database, sealer, _clients()),
        chat_model=chat_model,
        embedder=embedder,
        pins=Pins(prompt_refs(), engine_of(chat_model)),
        price=price_of(load(ModelSettings)),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )


def _clients() -> dict[str, httpx.AsyncClient]:
    """One client per channel: its connections stay open between sends."""
    return {"whatsapp": provider_client(load(MetaSettings).graph_url)}
