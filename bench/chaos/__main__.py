"""Chaos, as a command: prints one JSON object last, and ends with status 1 unless everything holds.

python -m bench.chaos --seconds 300 --seed 7
python -m bench.chaos --seconds 60 --seed 1 --print-schedule
python -m bench.chaos --seconds 60 --seed 1 --redis-dead
"""

import argparse
import asyncio
import json
import shutil
import sys

from bench.chaos.report import Report
from bench.chaos.run import RECORD, run_chaos
from bench.chaos.scenario import SECONDS_MIN, schedule_of
from bench.chaos.schedule import Schedule
from bench.running_stack import make_home

VIOLATIONS_SHOWN_MAX = 40


def main() -> int:
    """The command line; gives the exit status."""
    given = _arguments()
    schedule = schedule_of(given.seed, given.seconds, given.rate, calm=given.calm, redis_dead=given.redis_dead)
    if given.print_schedule:
        print(json.dumps(schedule.as_json(), indent=1))
        return 0
    report = _run(schedule, given)
    for sentence in report.violations[:VIOLATIONS_SHOWN_MAX]:
        say(f"wrong: {sentence}")
    print(json.dumps(report.as_json()))
    return 0 if report.ok else 1


def _run(schedule: Schedule, given: argparse.Namespace) -> Report:
    """Run it in a home of its own, which is kept unless all went well."""
    home = make_home("chowk-chaos-")
    say(f"home {home}")
    ok = False
    try:
        report = asyncio.run(run_chaos(schedule, home, redis_dead=given.redis_dead, say=say))
        ok = report.ok
    finally:
        if ok:
            shutil.rmtree(home, ignore_errors=True)
        else:
            say(f"reproduce it: {_command(given)}")
            say(f"kept: {home} ({RECORD} says what was found; `chowk dev --home {home}` goes on with it)")
    return report


def say(line: str) -> None:
    """Progress goes to standard error."""
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help=f"how long strangers write; from {SECONDS_MIN:g}")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule")
    parser.add_argument("--rate", type=float, default=5.0, help="events per second")
    parser.add_argument("--redis-dead", action="store_true", help="there is no Redis from the start")
    parser.add_argument("--calm", action="store_true", help="nothing is killed and no network fails")
    parser.add_argument("--print-schedule", action="store_true", help="print what would happen, and do nothing")
    return parser.parse_args()


def _command(given: argparse.Namespace) -> str:
    switches = "".join(f" --{name.replace('_', '-')}" for name in ("redis_dead", "calm") if getattr(given, name))
    return f"python -m bench.chaos --seconds {given.seconds:g} --seed {given.seed} --rate {given.rate:g}{switches}"


if __name__ == "__main__":
    sys.exit(main())
