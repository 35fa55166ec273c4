"""One whole run: servers and proxies up, the schedule followed, the end read, judged and written down."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from bench.chaos.bodies import Writer
from bench.chaos.drive import Driver
from bench.chaos.evidence import read_evidence
from bench.chaos.expectation import expectation_of
from bench.chaos.fault_proxy import FaultProxy
from bench.chaos.judge import judge
from bench.chaos.killer import Killer
from bench.chaos.poster import TIMEOUT_S, Poster
from bench.chaos.provider import Provider
from bench.chaos.report import Report, report_of
from bench.chaos.schedule import Schedule, Server
from bench.chaos.stack import at_port
from bench.running_stack import RunningStack, start, stop
from sandbox.home import open_home, port_for

STACK = ("bench.chaos.stack",)
RECORD = "chaos.json"
#: A port of 127.0.0.1 at which nothing may ever listen.
DEAD_REDIS_URL = "redis://127.0.0.1:9/0"


async def run_chaos(schedule: Schedule, home: Path, *, redis_dead: bool, say: Callable[[str], None]) -> Report:
    """Run this schedule on a stack in this home, and judge it. What was found is left in the home.

    Raises:
        RuntimeError: the stack did not become ready.
    """
    opened = open_home(home)
    proxies: dict[Server, FaultProxy] = {
        "postgres": FaultProxy(port_for(opened, "postgres")),
        "redis": FaultProxy(port_for(opened, "redis")),
    }
    emulator_port = port_for(opened, "emulator")
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=256)) as client:
        poster = Poster(client)
        provider = Provider(schedule, f"http://127.0.0.1:{emulator_port}", poster.post)
        proxies["provider"] = FaultProxy(await provider.open())
        for proxy in proxies.values():
            await proxy.open()
        supervisor = None
        try:
            environment = {"CHOWK_META_GRAPH_URL": f"http://127.0.0.1:{proxies['provider'].port}"}
            environment |= {"REDIS_URL": DEAD_REDIS_URL} if redis_dead else {}
            ports = ("--postgres-port", str(proxies["postgres"].port), "--redis-port", str(proxies["redis"].port))
            supervisor = await asyncio.to_thread(start, home, environment, command=(*STACK, *ports))
            stack = RunningStack(home, supervisor)
            say(f"the stack is ready: {stack.facts()['base_url']}")
            driver = await _driver(schedule, stack, poster, provider, proxies, say)
            report = await _judged(driver, stack)
        finally:
            if supervisor is not None:
                await asyncio.to_thread(stop, supervisor)
            for closing in (*proxies.values(), provider):
                await closing.close()
    record = {"schedule": schedule.as_json(), "report": report.as_json(), "course": report.course}
    (home / RECORD).write_text(json.dumps(record, indent=1))
    return report


async def _driver(
    schedule: Schedule,
    stack: RunningStack,
    poster: Poster,
    provider: Provider,
    proxies: dict[Server, FaultProxy],
    say: Callable[[str], None],
) -> Driver:
    facts = stack.facts()
    poster.url, poster.app_secret = facts["meta_app"]["webhook_url"], facts["meta_app"]["app_secret"]
    # The schedule says which statuses follow, and the provider tells them.
    (await poster.client.put(f"{facts['sandbox_url']}/sandbox/statuses", json={"enabled": False})).raise_for_status()
    organisations = facts["organisations"]
    phone_number_ids = {slug: one["accounts"]["whatsapp"]["phone_number_id"] for slug, one in organisations.items()}
    return Driver(
        schedule=schedule,
        writer=Writer(schedule, phone_number_ids, int(time.time())),
        poster=poster,
        provider=provider,
        killer=Killer(stack, facts["database_url"]),
        proxies=proxies,
        database_url=facts["database_url"],
        proxied_database_url=at_port(facts["database_url"], proxies["postgres"].port),
        tenants=tuple(one["tenant"] for one in organisations.values()),
        say=say,
    )


async def _judged(driver: Driver, stack: RunningStack) -> Report:
    course = await driver.follow()
    evidence = await read_evidence(driver.database_url, driver.tenants, stack.facts()["sandbox_url"])
    schedule = driver.schedule
    verdict = judge(schedule, expectation_of(schedule), driver.told(), evidence)
    return report_of(driver, course, verdict, evidence, processors=os.cpu_count() or 1)
