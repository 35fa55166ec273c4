"""Real processes follow the schedule: strangers post, things die, and then it is waited until all has come to rest."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from bench.chaos.bodies import Writer
from bench.chaos.evidence import work_left
from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.judge import Told
from bench.chaos.killer import Killed, Killer
from bench.chaos.poster import Poster
from bench.chaos.provider import Provider
from bench.chaos.returning import Return, watch_return
from bench.chaos.schedule import Disturbance, Kill, Post, Schedule, Server
from bench.running_stack import PRINTED
from bench.whatsapp_bodies import signed_headers

#: A sender that died leaves a lease of 30 s; then the provider has 60 s to speak; then the message is sent again.
SETTLE_S = 240.0
#: Nothing may come for so long before all counts as having come to rest.
QUIET_S = 3.0
LOOK_AGAIN_S = 0.5
UNSIGNED_TRIES = 20
RETRY_S = 0.3


@dataclass(slots=True)
class Course:
    """What happened."""

    killed: list[Killed] = field(default_factory=list[Killed])
    #: What was to be killed and was not there.
    missed: list[Kill] = field(default_factory=list[Kill])
    #: Each time that Postgres was away, by its death or by the network.
    returns: list[Return] = field(default_factory=list[Return])
    refusals: dict[int, int | None] = field(default_factory=dict[int, int | None])
    bodies: dict[int, bytes] = field(default_factory=dict[int, bytes])
    #: What was left to be done when patience ended; empty where all came to rest.
    left: dict[str, int] = field(default_factory=dict[str, int])
    settled_s: float = 0.0


@dataclass(slots=True)
class Driver:
    """Follows one schedule on one stack."""

    schedule: Schedule
    writer: Writer
    poster: Poster
    provider: Provider
    killer: Killer
    proxies: Mapping[Server, FaultProxy]
    #: Straight to the server, past every proxy.
    database_url: str
    #: As the product reaches it.
    proxied_database_url: str
    tenants: tuple[str, ...]
    say: Callable[[str], None]
    course: Course = field(default_factory=Course)
    _began: float = 0.0

    async def follow(self) -> Course:
        """Post, kill and disturb as scheduled; wait; ask once more; wait again.

        Raises:
            RuntimeError: the stack itself has ended.
        """
        following = asyncio.create_task(self._follow())
        reporting = asyncio.create_task(self._report())
        try:
            while not following.done():
                await asyncio.wait([following], timeout=LOOK_AGAIN_S)
                if self.killer.stack.supervisor.poll() is not None:
                    raise RuntimeError(f"the stack has ended; {self.killer.stack.home}/{PRINTED} says why")
        finally:
            following.cancel()
            reporting.cancel()
            await asyncio.wait([following, reporting])
        following.result()
        return self.course

    async def _follow(self) -> None:
        self._began = time.monotonic()
        await self._all_of(
            *(self._post(post) for post in self.schedule.posts),
            *(self._kill(kill) for kill in self.schedule.kills),
            *(self._disturb(one) for one in self.schedule.disturbances),
        )
        await self._settle()
        self.say(f"{self._now_s():6.1f} s: at rest; everyone asks once more")
        self._began = time.monotonic()
        self.provider.calm = True
        await self._all_of(*(self._post(post) for post in self.schedule.epilogue))
        await self._settle()

    def told(self) -> Told:
        """What the stack was told."""
        return Told(
            bodies=self.course.bodies,
            acknowledged=frozenset(
                number for number, body in self.course.bodies.items() if body in self.poster.acknowledged_at
            ),
            refusals=self.course.refusals,
            statuses=self.provider.statuses,
        )

    def posted_at(self) -> dict[int, float]:
        """When each event was first posted, in monotonic seconds."""
        found: dict[int, float] = {}
        for number, body in self.course.bodies.items():
            at = self.poster.posted_at.get(body)
            for event in self.schedule.bodies[number].events if at is not None else ():
                found[event] = min(found.get(event, float("inf")), at or 0.0)
        return found

    async def _all_of(self, *coroutines: Awaitable[None]) -> None:
        """Let all of it happen; what does not end once the schedule is over is left for the judge to see."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        try:
            finished, _ = await asyncio.wait(tasks, timeout=self.schedule.seconds + SETTLE_S)
        finally:
            for task in tasks:
                task.cancel()
        for task in finished:
            task.result()

    async def _post(self, post: Post) -> None:
        body = self.course.bodies.setdefault(post.body, self.writer.body(post.body))
        await self._until(post.at_ms)
        match self.schedule.bodies[post.body].kind:
            case "signed" | "not_json":
                await self.poster.post(body)
            case "unsigned":
                await self._be_refused(post.body, body, {"content-type": "application/json"})
            case "wrong_signature":
                await self._be_refused(post.body, body, signed_headers(body, app_secret="not the secret"))

    async def _be_refused(self, number: int, body: bytes, headers: dict[str, str]) -> None:
        """Post until somebody says more than to try again."""
        for _ in range(UNSIGNED_TRIES):
            answer = await self.poster.once(body, headers)
            self.course.refusals[number] = answer.status
            if answer.status is not None and not answer.unavailable:
                return
            await asyncio.sleep(RETRY_S)

    async def _kill(self, kill: Kill) -> None:
        await self._until(kill.at_ms)
        killed = await self.killer.kill(kill)
        if killed is None:
            self.course.missed.append(kill)
            return
        self.course.killed.append(killed)
        self.say(f"{killed.at - self._began:6.1f} s: {kill.target} {killed.pid}")
        if kill.target in ("postgres", "backend"):
            await self._watch()

    async def _watch(self) -> None:
        stored = next(iter(self.poster.acknowledged_at), None)
        if stored is None:
            return
        returned = await watch_return(self.poster, stored, self.proxied_database_url)
        if returned is not None:
            self.course.returns.append(returned)
            self.say(
                f"{self._now_s():6.1f} s: postgres was away {returned.away_s:.2f} s;"
                f" stored again {returned.stored_after_s:.2f} s after"
            )

    async def _disturb(self, disturbance: Disturbance) -> None:
        await self._until(disturbance.at_ms)
        proxy = self.proxies.get(disturbance.server)
        if proxy is None:
            return
        self.say(f"{self._now_s():6.1f} s: {disturbance.fault} on the way to {disturbance.server}")
        for_s = disturbance.for_ms / 1000
        match disturbance.fault:
            case "slow":
                await proxy.slow(disturbance.amount, for_s=for_s)
            case "silence":
                await proxy.silence(for_s)
            case "refuse" if disturbance.server == "postgres":
                await asyncio.gather(proxy.refuse(for_s), self._watch())
            case "refuse":
                await proxy.refuse(for_s)
            case "reset":
                proxy.reset()
            case "cut":
                proxy.cut(disturbance.amount)

    async def _settle(self) -> None:
        """Wait until nothing is left to be done, and nothing came for a while."""
        began = time.monotonic()
        quiet_since: float | None = None
        while time.monotonic() - began < SETTLE_S:
            self.course.left = await self._left()
            now = time.monotonic()
            quiet_since = None if self.course.left else quiet_since or now
            if quiet_since is not None and now - quiet_since >= QUIET_S:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        self.course.settled_s += time.monotonic() - began

    async def _left(self) -> dict[str, int]:
        told = {"posts": self.poster.pending, "statuses": self.provider.pending}
        left = {name: count for name, count in told.items() if count}
        try:
            return left | await work_left(self.database_url, self.tenants)
        except psycopg.OperationalError:
            return left | {"database": 1}

    async def _until(self, at_ms: int) -> None:
        await asyncio.sleep(max(self._began + at_ms / 1000 - time.monotonic(), 0))

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(10)
            with suppress(psycopg.Error):
                left = await self._left()
                acknowledged = len(self.poster.acknowledged_at)
                self.say(f"{self._now_s():6.1f} s: {acknowledged} bodies acknowledged; left: {left or 'nothing'}")
