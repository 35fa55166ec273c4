"""Blobs that no inbox row names: of a body that came twice, of a commit that failed, of a process that was killed."""

from datetime import datetime, timedelta

from core.log import logger
from db.pools import Database
from db.transactions import queue_tx
from inbox.blob_store import PARTS_FOLDER, Blobs
from inbox.blobs import INBOX_FOLDER, blobs_of_process

log = logger(__name__)

#: A blob is durable before its row is, so a young one may only be early.
ORPHAN_AGE_MIN = timedelta(hours=1)
BLOBS_MAX = 1000


async def delete_orphan_blobs(database: Database, *, now: datetime, blobs: Blobs | None = None) -> int:
    """Delete up to `BLOBS_MAX` blobs older than an hour that no row of the inbox names; gives how many."""
    store = blobs or blobs_of_process()
    found = [*await store.list(PARTS_FOLDER), *await store.list(INBOX_FOLDER)]
    old = [blob.name for blob in found if blob.modified_at < now - ORPHAN_AGE_MIN]
    orphans: list[str] = []
    for start in range(0, len(old), BLOBS_MAX):
        names = old[start : start + BLOBS_MAX]
        async with queue_tx(database, commit="inbox.orphans") as connection:
            cursor = await connection.execute("SELECT body_blob FROM core.inbox WHERE body_blob = ANY(%s)", (names,))
            kept = {row["body_blob"] for row in await cursor.fetchall()}
        orphans.extend(name for name in names if name not in kept)
        if len(orphans) >= BLOBS_MAX:
            break
    for name in orphans:
        await store.delete(name)
    if orphans:
        log.info("orphan_blobs_deleted", blobs=len(orphans))
    return len(orphans)
