"""What one turn costs: from the webhook to the POST at the provider, with the offline model and no debounce.

Three measurements in one run:
  - idle: one stranger after another writes to a whole running stack; latency from the socket to the emulator's log,
  - busy: many write at once; turns per second, and CPU per turn of API, worker, PostgreSQL and Redis (neither the
    emulator nor this client); once with the provider's statuses switched off, which is the turn alone, and once with
    the three status webhooks that follow each reply,
  - stages: the same turns in one process, stage by stage, each with its CPU here and in PostgreSQL; beside them the
    same graph on an in-memory saver.

    python -m bench.turn --idle 60 --busy 300 --staged 60
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from bench.cpu import cpu_s
from bench.running_stack import RunningStack, running_stack
from bench.turn_stages import measure_stages
from bench.whatsapp_bodies import signed_text

QUESTION = "Can I get a tax receipt for my donation?"
PARTS = ("api", "worker", "postgres", "redis")
WARM_UP = 20
PAUSE_S = 1.0
ANSWER_S_MAX = 60.0
#: Until the last status webhooks have come and are written.
SETTLE_S = 5.0
LATENCY_P50_MS_AIM = 60.0
CPU_MS_AIM = 45.0


@dataclass(frozen=True, slots=True)
class Client:
    """Posts signed messages and reads when the provider got the replies."""

    http: httpx.AsyncClient
    stack: RunningStack

    async def write(self, sender: str) -> int:
        """Post one question; gives the monotonic time at which the post began, in ns."""
        facts = self.stack.facts()
        body, headers = signed_text(
            QUESTION,
            sender=sender,
            phone_number_id=facts["accounts"]["whatsapp"]["phone_number_id"],
            app_secret=facts["meta_app"]["app_secret"],
        )
        began = time.monotonic_ns()
        answer = await self.http.post(facts["meta_app"]["webhook_url"], content=body, headers=headers)
        answer.raise_for_status()
        return began

    async def switch_statuses(self, *, on: bool) -> None:
        """Have the emulator send status webhooks, or none."""
        url = f"{self.stack.facts()['sandbox_url']}/sandbox/statuses"
        answer = await (self.http.delete(url) if on else self.http.put(url, json={"enabled": False}))
        answer.raise_for_status()

    async def replies(self, wanted: Sequence[str]) -> dict[str, int]:
        """When the provider got the reply to each of these people, monotonic ns; waits until all are there."""
        url, missing = f"{self.stack.facts()['sandbox_url']}/sandbox/sent", set(wanted)
        arrived: dict[str, int] = {}
        after, deadline = 0, time.monotonic() + ANSWER_S_MAX
        while missing and time.monotonic() < deadline:
            items = (await self.http.get(url, params={"after": after, "limit": 1000})).json()["items"]
            for item in items:
                arrived.setdefault(item["to"], item["accepted_monotonic_ns"])
                missing.discard(item["to"])
                after = item["number"]
            if not items:
                await asyncio.sleep(0.02)
        if missing:
            raise RuntimeError(f"{len(missing)} of {len(wanted)} people got no reply within {ANSWER_S_MAX:g} s")
        return arrived


async def measure_idle(client: Client, count: int) -> dict[str, float]:
    """Latency when nothing else goes on."""
    latencies: list[float] = []
    for number in range(WARM_UP + count):
        sender = f"9197{number:08d}"
        began = await client.write(sender)
        arrived = await client.replies([sender])
        latencies.append((arrived[sender] - began) / 1e6)
        # The status webhooks of this reply come within 700 ms; while they are written the stack is not idle.
        await asyncio.sleep(PAUSE_S if number >= WARM_UP else 0)
    return _latency(latencies[WARM_UP:])


async def measure_busy(client: Client, count: int, *, statuses: bool) -> dict[str, float]:
    """Rate and CPU when many people write at once."""
    senders = [f"919{6 if statuses else 5}{number:08d}" for number in range(count)]
    await client.switch_statuses(on=statuses)
    roots = {part: client.stack.pids(part)[:1] for part in PARTS}
    before = {part: cpu_s(pids) for part, pids in roots.items()}
    began = time.monotonic()
    starts = dict(zip(senders, await asyncio.gather(*(client.write(sender) for sender in senders)), strict=True))
    arrived = await client.replies(senders)
    seconds = max(arrived[sender] for sender in senders) / 1e9 - began
    await asyncio.sleep(SETTLE_S if statuses else 1)
    cpu = {part: (cpu_s(pids) - before[part]) * 1000 / count for part, pids in roots.items()}
    return {
        "turns_per_s": round(count / seconds, 1),
        "cpu_ms_per_turn": round(sum(cpu.values()), 1),
        **{f"cpu_ms_per_turn_{part}": round(value, 2) for part, value in cpu.items()},
        **_latency([(arrived[sender] - starts[sender]) / 1e6 for sender in senders]),
    }


def _latency(milliseconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(milliseconds, n=100)
    return {"p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}


async def measure(stack: RunningStack, *, idle: int, busy: int, staged: int) -> dict[str, Any]:  # Any: JSON
    """All three, one after the other."""
    async with httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=64)) as http:
        client = Client(http, stack)
        figures: dict[str, Any] = {
            "idle": await measure_idle(client, idle),
            "busy": await measure_busy(client, busy, statuses=False),
            "busy_with_statuses": await measure_busy(client, busy, statuses=True),
        }
    figures["stages"] = await measure_stages(staged)
    figures["aims"] = {
        "p50_ms": {"aim": LATENCY_P50_MS_AIM, "holds": figures["idle"]["p50_ms"] <= LATENCY_P50_MS_AIM},
        "cpu_ms_per_turn": {"aim": CPU_MS_AIM, "holds": figures["busy"]["cpu_ms_per_turn"] <= CPU_MS_AIM},
    }
    return figures


def main() -> None:
    """Measure on a fresh stack and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=60)
    parser.add_argument("--busy", type=int, default=300)
    parser.add_argument("--staged", type=int, default=60)
    given = parser.parse_args()
    with running_stack({"CHOWK_DEBOUNCE_MS": "0"}) as stack:
        figures = asyncio.run(measure(stack, idle=given.idle, busy=given.busy, staged=given.staged))
    for name in ("idle", "busy", "busy_with_statuses", "stages"):
        print(f"{name}:", *(f"\n  {key}: {value}" for key, value in figures[name].items()))
    print(json.dumps({"bench": "turn", **figures}))


if __name__ == "__main__":
    main()
