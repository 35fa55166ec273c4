"""What the protocol has and we do not do: each refused with the reason, and with what to do instead."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

THREADS = "threads come from conversations, forks and replays: threads.copy and threads.update_state make new ones"
METADATA = "what is known of a thread follows from its runs and is not written by callers"
KEPT = "runs are the record of what was done and are not deleted; checkpoints are, when their time is over"
ASSISTANTS = "assistants are the graphs of this release; they are not made or changed here"
STATELESS = "every run belongs to a thread; name one that threads.search lists"
ONE_BY_ONE = "runs are cancelled one by one: runs.cancel"
OF_RUNS = "a thread is not streamed; join its runs: runs.join_stream"
SCHEDULES = "what is due later is scheduled by the graphs themselves"
STORE = "what is remembered of people is not read or written here"

ROUTES: tuple[tuple[str, str, str], ...] = (
    ("POST", "/threads", THREADS),
    ("PATCH", "/threads/{thread_id}", METADATA),
    ("DELETE", "/threads/{thread_id}", KEPT),
    ("POST", "/threads/prune", KEPT),
    ("GET", "/threads/{thread_id}/stream", OF_RUNS),
    ("POST", "/threads/{thread_id}/stream/events", OF_RUNS),
    ("POST", "/threads/{thread_id}/commands", OF_RUNS),
    ("DELETE", "/threads/{thread_id}/runs/{run_id}", KEPT),
    ("POST", "/threads/{thread_id}/runs/crons", SCHEDULES),
    ("POST", "/runs", STATELESS),
    ("POST", "/runs/wait", STATELESS),
    ("POST", "/runs/stream", STATELESS),
    ("POST", "/runs/batch", STATELESS),
    ("POST", "/runs/cancel", ONE_BY_ONE),
    ("POST", "/runs/crons", SCHEDULES),
    ("POST", "/runs/crons/search", SCHEDULES),
    ("POST", "/runs/crons/count", SCHEDULES),
    ("POST", "/assistants", ASSISTANTS),
    ("PATCH", "/assistants/{assistant_id}", ASSISTANTS),
    ("DELETE", "/assistants/{assistant_id}", ASSISTANTS),
    ("POST", "/assistants/{assistant_id}/latest", ASSISTANTS),
    ("PUT", "/store/items", STORE),
    ("GET", "/store/items", STORE),
    ("DELETE", "/store/items", STORE),
    ("POST", "/store/items/search", STORE),
    ("POST", "/store/namespaces", STORE),
)


def _refusing(why: str) -> Callable[[Request], Awaitable[NoReturn]]:
    async def refuse(request: Request) -> NoReturn:
        await request.body()  # the server would hang up on a body that nobody read, in the client's next request
        raise HTTPException(405, why)

    return refuse


def refusals() -> APIRouter:
    """A router that answers all of these with 405; none of them is documented."""
    router = APIRouter()
    for method, path, why in ROUTES:
        router.add_api_route(path, _refusing(why), methods=[method], include_in_schema=False, response_model=None)
    return router
