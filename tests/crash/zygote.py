"""Walks journeys, each in a fresh process that may be killed: `python -m tests.crash.zygote`.

Everything slow is imported once, here; each line on standard input, `{"journey", "place", "fault"}`, is walked by a
fork of this process, and the line that comes back is the fork's wait status.
"""

import asyncio
import json
import os
import sys
import traceback
from typing import Any

from db.faults import arm
from models.embedder import local_embedder
from tests.crash.journeys import JOURNEYS
from tests.crash.world import Place, world_of


async def walk(order: dict[str, Any]) -> None:
    async with world_of(Place(**order["place"])) as world:
        await JOURNEYS[order["journey"]](world)


def main() -> None:
    asyncio.run(local_embedder().warm_up())
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the log is not the answer
            try:
                arm(order["fault"])
                asyncio.run(walk(order))
                status = 0
            except Exception:  # noqa: BLE001  # told, and the walk has failed
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, wait_status = os.waitpid(child, 0)
        sys.stdout.write(f"{wait_status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
