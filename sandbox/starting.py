"""How supervised processes start: in which order, when one counts as ready, how long to wait before the next try."""

import asyncio
import graphlib
from collections.abc import Sequence

from core.errors import Broken
from sandbox.process import Child, Process, Readiness

RETRY_DELAY_FIRST_S = 0.5
RETRY_DELAY_MAX_S = 10.0
#: A process that was ready for this long is healthy: its next end counts as its first.
HEALTHY_S = 30.0
READY_POLL_S = 0.05
#: A check that has not answered by then has answered no.
READY_CHECK_S = 10.0


def check_order(processes: Sequence[Process]) -> None:
    """See that every process can start after those it depends on, and stop before them.

    Raises:
        Broken: one depends on a process that is not declared, or on itself by way of others.
    """
    graph = {process.name: (*process.depends_on, *process.outlived_by) for process in processes}
    unknown = {name for names in graph.values() for name in names} - graph.keys()
    if unknown:
        raise Broken(f"processes depend on {sorted(unknown)}, which are not declared")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise Broken(f"processes wait for each other: {error.args[1]}") from None


def retry_delay_s(ends: int) -> float:
    """How long to wait before starting again a process that ended `ends` times since it was last healthy."""
    return 0.0 if ends == 0 else min(RETRY_DELAY_FIRST_S * 2.0 ** min(ends - 1, 16), RETRY_DELAY_MAX_S)


async def became_ready(child: Child) -> bool:
    """Whether the child became ready, or as a job ended well, within its time."""
    process = child.process
    deadline = asyncio.get_running_loop().time() + process.start_s
    if process.ready is None:
        await asyncio.wait([child.exited], timeout=process.start_s)
        return child.exited.done() and child.exited.result() == 0
    while child.runs and asyncio.get_running_loop().time() < deadline:
        if await _answers(process.ready) and child.runs:
            return True
        await asyncio.wait([child.exited], timeout=READY_POLL_S)
    return False


async def _answers(check: Readiness) -> bool:
    try:
        async with asyncio.timeout(READY_CHECK_S):
            return await check()
    except TimeoutError:
        return False


async def stayed_healthy(child: Child) -> bool:
    """Wait for the end of a ready child; whether it had been ready for `HEALTHY_S`."""
    loop = asyncio.get_running_loop()
    since = loop.time()
    await asyncio.wait([child.exited])
    return loop.time() - since >= HEALTHY_S
