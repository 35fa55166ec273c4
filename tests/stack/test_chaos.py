"""Everything a running stack stands on dies under load; nothing acknowledged is lost, nothing is done twice."""

import os
import shutil
import signal
import time

import httpx
import psycopg
import pytest

from bench.chaos.run import run_chaos
from bench.chaos.scenario import schedule_of
from bench.running_stack import RunningStack, start, stop
from tests.embedded import make_home, processes_of

SEED, SECONDS, RATE_PER_S = 6, 18, 3


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_short_chaos_ends_as_if_nothing_had_died() -> None:
    """Judged by its end alone: how fast it recovers is `make chaos`'s to say, on a machine of its own."""
    home = make_home()
    report = await run_chaos(schedule_of(SEED, SECONDS, RATE_PER_S), home, redis_dead=False, say=print)
    again = f"python -m bench.chaos --seed {SEED} --seconds {SECONDS} --rate {RATE_PER_S}; {home} is kept"
    assert report.violations == [], again
    assert sum(report.figures["kills"].values()) >= 5, again
    assert report.figures["events_acknowledged"] >= SECONDS * RATE_PER_S
    assert processes_of(home) == []
    shutil.rmtree(home)


@pytest.mark.chaos
def test_killing_the_idle_postmaster_is_survived(product: RunningStack) -> None:
    facts = product.facts()
    (postmaster,) = product.pids("postgres")[:1]
    os.kill(postmaster, signal.SIGKILL)
    headers = {"x-api-key": facts["api_key"]}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{facts['base_url']}/v1/conversations", headers=headers, timeout=5)
        except httpx.HTTPError:
            continue
        if answer.is_success and product.pids("postgres")[:1] != [postmaster]:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the API did not answer again within a minute")
    with psycopg.connect(facts["database_url"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_second_start_goes_on_where_the_first_was_and_ctrl_c_leaves_nothing() -> None:
    home = make_home()
    first = start(home, {})
    before = RunningStack(home, first).facts()
    assert stop(first) == 0
    assert processes_of(home) == []
    second = start(home, {})
    after = RunningStack(home, second).facts()
    assert stop(second) == 0
    assert processes_of(home) == []
    shutil.rmtree(home)
    assert {"api", "worker", "beat", "postgres", "redis", "emulator"} <= after["pids"].keys()
    assert (after["tenant"], after["api_key"]) == (before["tenant"], before["api_key"])
    account, earlier = after["accounts"]["whatsapp"], before["accounts"]["whatsapp"]
    assert (account["account_id"], account["app_secret"]) == (earlier["account_id"], earlier["app_secret"])
