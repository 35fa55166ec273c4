"""How much longer a person waits because the worker was killed in the middle of their turn.

A turn is kept in its model call; then the worker that makes the call is killed with SIGKILL. Measured is the time
until that same turn goes on, which is when the call is made again, and until its reply reaches the provider:
  - host: all processes of the worker die at once, as when its host does, and another worker stands by,
  - child: one worker alone loses the process that does the work, as when memory runs out; its parent forks another,
  - alone: one worker alone dies altogether; its supervisor must start it again first.

The peer of `host`, in the same run and on the same Redis, is Celery's own redelivery (`bench.celery_redelivery`).

    python -m bench.recovery --host 10 --child 2 --alone 2 --celery-cap-s 180
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from bench.celery_redelivery import VISIBILITY_TIMEOUT_S, redelivery_s
from bench.cpu import cpu_s
from bench.held_model import HeldModel, held_model
from bench.running_stack import RunningStack, running_stack
from bench.turn import Client
from bench.worker_crew import Crew
from core.settings import TurnSettings, load
from sandbox.reaper import kill_tree

#: How long a turn stands in its model call before its worker is killed; the lease is renewed meanwhile.
HELD_S = (0.5, 3.0)
#: What a recovery may take beyond the lease.
BEYOND_LEASE_S = 1.0
CALL_S_MAX = 30.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often each is measured."""

    host: int
    child: int
    alone: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """A turn whose worker was killed: how long after that it went on and its reply left, and what the wait cost."""

    resumed_s: float
    replied_s: float
    #: Processor time of the worker standing by.
    standby_cpu_ms: float


@dataclass(slots=True)
class Scene:
    """What a round needs."""

    client: Client
    model: HeldModel
    crew: Crew
    senders: list[str] = field(default_factory=list[str])
    #: Seeded: when in the life of a lease a kill falls must not depend on when the bench runs.
    jitter: random.Random = field(default_factory=lambda: random.Random(1))
    _returning: asyncio.Task[None] | None = None

    async def all_back(self) -> None:
        """Return once every worker that was killed works again."""
        if self._returning is not None:
            await self._returning

    async def recover(self, *, whole: bool) -> Recovery:
        """Kill the worker of one turn, or its process alone, and measure; the worker comes back meanwhile."""
        sender = f"9194{len(self.senders):08d}"
        self.senders.append(sender)
        called = self.model.hold_next()
        await self.client.write(sender)
        async with asyncio.timeout(CALL_S_MAX):
            port = await called
        await self.all_back()
        await asyncio.sleep(self.jitter.uniform(*HELD_S))
        killed, caller = self.crew.calling_from(port)
        standby = [worker.pid for worker in self.crew.workers() if worker != killed]
        cpu_before, killed_at, killed_ns = cpu_s(standby), time.time(), time.monotonic_ns()
        kill_tree(killed.pid if whole else caller)
        replied_ns = (await self.client.replies([sender]))[sender]
        cpu_ms = (cpu_s(standby) - cpu_before) * 1000
        self._returning = asyncio.create_task(self.crew.bring_back(killed, since=killed_at))
        return Recovery((self.model.called_ns - killed_ns) / 1e9, (replied_ns - killed_ns) / 1e9, cpu_ms)


async def measure(stack: RunningStack, model: HeldModel, *, rounds: Rounds, cap_s: float) -> dict[str, Any]:  # JSON
    """Our rounds, while Celery's workers wait for theirs."""
    crew, redis_url = Crew(stack), stack.facts()["redis_url"]
    peers = {"celery": False, "celery_eager": True} if cap_s else {}
    redeliveries = [
        asyncio.create_task(
            redelivery_s(_database(redis_url, number), eager=eager, held_s=statistics.mean(HELD_S), cap_s=cap_s)
        )
        for number, eager in enumerate(peers.values(), start=1)
    ]
    async with httpx.AsyncClient(timeout=30) as http:
        scene = Scene(Client(http, stack), model, crew)
        try:
            child = [await scene.recover(whole=False) for _ in range(rounds.child)]
            alone = [await scene.recover(whole=True) for _ in range(rounds.alone)]
            await scene.all_back()
            await crew.add()
            host = [await scene.recover(whole=True) for _ in range(rounds.host)]
            await scene.all_back()
        finally:
            crew.remove()
        twice = await _answered_twice(http, stack, scene.senders)
    lease_s = load(TurnSettings).lease_s
    aim = lease_s + BEYOND_LEASE_S
    return {
        "lease_s": lease_s,
        "host": _seconds(host) | {"standby_cpu_ms_p50": round(statistics.median(one.standby_cpu_ms for one in host))},
        "child": _seconds(child),
        "alone": _seconds(alone),
        "answered_twice": twice,
        "celery_visibility_timeout_s": VISIBILITY_TIMEOUT_S,
        **{f"{name}_s": _rounded(await one) for name, one in zip(peers, redeliveries, strict=True)},
        "aims": {"host_resumed_s_max": {"aim": aim, "holds": max(one.resumed_s for one in host) <= aim}},
    }


def _seconds(recoveries: Sequence[Recovery]) -> dict[str, float]:
    figures: dict[str, float] = {"rounds": len(recoveries)}
    for name in ("resumed_s", "replied_s") if recoveries else ():
        seconds = [getattr(one, name) for one in recoveries]
        figures |= {f"{name}_p50": round(statistics.median(seconds), 2), f"{name}_max": round(max(seconds), 2)}
    return figures


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


async def _answered_twice(http: httpx.AsyncClient, stack: RunningStack, senders: Sequence[str]) -> int:
    url = f"{stack.facts()['sandbox_url']}/sandbox/sent"
    items = (await http.get(url, params={"limit": 1000})).json()["items"]
    replies = Counter(item["to"] for item in items)
    return sum(replies[sender] > 1 for sender in senders)


def _database(redis_url: str, number: int) -> str:
    """The same server, another of its databases: kombu's own keys have the same names for everybody."""
    return urlunsplit(urlsplit(redis_url)._replace(path=f"/{number}"))


async def run(rounds: Rounds, *, cap_s: float) -> dict[str, Any]:  # Any: JSON
    """Start everything, measure, stop everything."""
    async with held_model() as model:
        running = running_stack({"CHOWK_DEBOUNCE_MS": "0", **model.environment()})
        stack = await asyncio.to_thread(running.__enter__)
        try:
            return await measure(stack, model, rounds=rounds, cap_s=cap_s)
        finally:
            await asyncio.to_thread(running.__exit__, None, None, None)


def main() -> None:
    """Measure on a fresh stack and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", type=int, default=10)
    parser.add_argument("--child", type=int, default=2)
    parser.add_argument("--alone", type=int, default=2)
    parser.add_argument("--celery-cap-s", type=float, default=180, help="how long to wait for Celery; 0 leaves it out")
    given = parser.parse_args()
    rounds = Rounds(host=max(given.host, 1), child=given.child, alone=given.alone)
    figures = asyncio.run(run(rounds, cap_s=given.celery_cap_s))
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps({"bench": "recovery", **figures}))


if __name__ == "__main__":
    main()
