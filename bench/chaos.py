"""How many acknowledged messages are lost, or answered twice, while every process is killed again and again: none.

Strangers write to a whole running stack; meanwhile each process of the API and of the worker, and Redis, is killed
with SIGKILL in turn. Every message that was acknowledged with 200 must be answered exactly once. Whoever is not
answered 200 posts the same bytes again, as the providers do.

    python -m bench.chaos --messages 200 --kill-every-s 2
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import httpx

from bench.running_stack import RunningStack, running_stack
from bench.whatsapp_bodies import signed_text

QUESTION = "Can I get a tax receipt for my donation?"
POST_RETRY_S = 0.3
SETTLE_S = 120.0
#: After the last answer came, this long nothing more may come.
QUIET_S = 8.0
VICTIMS = ("api", "worker", "redis")


@dataclass(slots=True)
class Verdict:
    """What became of the messages."""

    acknowledged: int = 0
    answered_once: int = 0
    lost: int = 0
    answered_twice: int = 0
    posts_repeated: int = 0
    kills: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every acknowledged message was answered exactly once."""
        return self.acknowledged > 0 and self.lost == 0 and self.answered_twice == 0


async def rage(stack: RunningStack, *, messages: int, rate_per_s: float, kill_every_s: float) -> Verdict:
    """Send, kill, wait for quiet, and count."""
    verdict, began = Verdict(), time.monotonic()
    senders = [f"9198{int(began) % 10_000:04d}{number:05d}" for number in range(messages)]
    async with httpx.AsyncClient(timeout=5) as client:
        killing = asyncio.create_task(_kill_in_turn(stack, verdict, every_s=kill_every_s))
        posting = [
            asyncio.create_task(_post_until_acknowledged(client, stack, sender, verdict, after_s=number / rate_per_s))
            for number, sender in enumerate(senders)
        ]
        await asyncio.gather(*posting)
        killing.cancel()
        answers = await _answers(client, stack, senders)
    verdict.answered_once = sum(answers[sender] == 1 for sender in senders)
    verdict.lost = sum(answers[sender] == 0 for sender in senders)
    verdict.answered_twice = sum(answers[sender] > 1 for sender in senders)
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


async def _post_until_acknowledged(
    client: httpx.AsyncClient, stack: RunningStack, sender: str, verdict: Verdict, *, after_s: float
) -> None:
    await asyncio.sleep(after_s)
    facts = stack.facts()
    app, account = facts["meta_app"], facts["accounts"]["whatsapp"]
    body, headers = signed_text(
        QUESTION, sender=sender, phone_number_id=account["phone_number_id"], app_secret=app["app_secret"]
    )
    while True:
        try:
            answer = await client.post(app["webhook_url"], content=body, headers=headers)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code == httpx.codes.OK:
            verdict.acknowledged += 1
            return
        verdict.posts_repeated += 1
        await asyncio.sleep(POST_RETRY_S)


async def _kill_in_turn(stack: RunningStack, verdict: Verdict, *, every_s: float) -> None:
    kills: Counter[str] = Counter()
    for name in _victims():
        await asyncio.sleep(every_s)
        pids = stack.pids(name)
        if not pids:
            continue
        try:
            os.kill(pids[kills[name] % len(pids)], signal.SIGKILL)
        except ProcessLookupError:
            continue
        kills[name] += 1
        verdict.kills = dict(kills)


def _victims() -> Iterator[str]:
    while True:
        yield from VICTIMS


async def _answers(client: httpx.AsyncClient, stack: RunningStack, senders: list[str]) -> Counter[str]:
    """How many replies each sender got, once nothing more comes."""
    wanted, deadline, last, quiet_since = set(senders), time.monotonic() + SETTLE_S, -1, time.monotonic()
    while True:
        counts = await _sent(client, stack)
        if sum(counts.values()) != last:
            last, quiet_since = sum(counts.values()), time.monotonic()
        done = wanted <= counts.keys() and time.monotonic() - quiet_since > QUIET_S
        if done or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.5)


async def _sent(client: httpx.AsyncClient, stack: RunningStack) -> Counter[str]:
    counts: Counter[str] = Counter()
    after = 0
    while True:
        url = f"{stack.facts()['sandbox_url']}/sandbox/sent"
        items = (await client.get(url, params={"after": after, "limit": 1000})).json()["items"]
        if not items:
            return counts
        counts.update(item["to"] for item in items)
        after = items[-1]["number"]


def main() -> None:
    """Run it on a fresh stack; exit status 1 where a message was lost or answered twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--rate-per-s", type=float, default=10)
    parser.add_argument("--kill-every-s", type=float, default=2)
    given = parser.parse_args()
    with running_stack() as stack:
        verdict = asyncio.run(
            rage(stack, messages=given.messages, rate_per_s=given.rate_per_s, kill_every_s=given.kill_every_s)
        )
    print(json.dumps({"bench": "chaos", **asdict(verdict), "holds": verdict.holds}))
    sys.exit(not verdict.holds)


if __name__ == "__main__":
    main()
