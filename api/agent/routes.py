"""The agent protocol under `/agent`: the official `langgraph_sdk` client, unmodified, reads and operates runs here.

It is one more door to what `/v1/runs` does. The client puts its base URL, which ends in `/agent`, before every path
that it is given, so the paths in `Location` and `Content-Location` come without it.
"""

from fastapi import APIRouter

from api.agent import assistants, info, runs, stream, thread_states, threads
from api.agent.unsupported import refusals

PREFIX = "/agent"


def agent_routes() -> APIRouter:
    """Every route of the protocol."""
    router = APIRouter(prefix=PREFIX, tags=["agent protocol"])
    for module in (assistants, threads, thread_states, stream, runs, info):
        router.include_router(module.router)
    router.include_router(refusals())
    return router
