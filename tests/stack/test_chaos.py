"""Every process is killed under load; nothing acknowledged is lost or answered twice."""

import os
import shutil
import signal
import time

import httpx
import psycopg
import pytest

from bench.chaos import rage
from bench.running_stack import RunningStack, start, stop
from tests.embedded import make_home, processes_of


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_killing_every_process_under_load_loses_nothing_and_repeats_nothing(product: RunningStack) -> None:
    verdict = await rage(product, messages=40, rate_per_s=4, kill_every_s=1.5)
    assert verdict.holds, verdict
    assert verdict.answered_once == verdict.acknowledged == 40
    assert sum(verdict.kills.values()) >= 5


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
        if answer.status_code == httpx.codes.OK and product.pids("postgres")[:1] != [postmaster]:
            break
        time.sleep(0.2)
    else:
        pytest.fail("the API did not answer again within a minute")
    with psycopg.connect(facts["database_url"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.timeout(300)
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
