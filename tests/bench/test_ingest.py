import argparse

import pytest

from bench.cpu import cpu_s, find_below
from bench.ingest import Measured, median, print_table, report

ASKED = argparse.Namespace(connections=64, workers=1, rounds=3, seconds=1)


def measured(rate: float, app_us: float, postgres_us: float = 0.0, redis_us: float = 0.0) -> Measured:
    return Measured(1000, rate, 5.0, 9.0, app_us, postgres_us, redis_us)


def test_the_median_round_counts() -> None:
    found = median([measured(10, 1), measured(30, 100), measured(20, 2)])
    assert (found.rate, found.app_us) == (20, 2)


@pytest.mark.parametrize(
    ("app_us", "celery_rate", "met"),
    [(60.0, 1000.0, [True, True, True]), (75.0, 1000.0, [True, False, True]), (90.0, 3000.0, [False, False, False])],
)
def test_each_aim_is_judged_by_itself(app_us: float, celery_rate: float, met: list[bool]) -> None:
    found = {
        "durable": [measured(10_000, app_us, 30, 1)],
        "unstored": [measured(30_000, 40)],
        "celery": [measured(celery_rate, 900)],
    }
    result = report(found, stored=1500, asked=ASKED)
    assert list(result["aims"].values()) == met
    assert result["cpu_times_unstored"] == round((app_us + 31) / 40, 2)
    assert result["medians"]["durable"]["cpu_us"] == app_us + 31


def test_the_least_disturbed_round_is_judged() -> None:
    found = {
        "durable": [measured(5_000, 200), measured(10_000, 80), measured(6_000, 150)],
        "unstored": [measured(20_000, 60), measured(30_000, 40), measured(25_000, 50)],
        "celery": [measured(1_000, 1_000)],
    }
    result = report(found, stored=3000, asked=ASKED)
    assert (result["cpu_times_unstored"], result["rate_times_celery"]) == (2.0, 10.0)
    assert result["medians"]["durable"]["cpu_us"] == 150


def test_the_table_shows_every_variant_and_aim(capsys: pytest.CaptureFixture[str]) -> None:
    found = {name: [measured(10_000, 50)] for name in ("durable", "unstored", "celery")}
    print_table(report(found, stored=1000, asked=ASKED))
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("durable", "unstored", "celery", "cpu_us", "MISSED", "met"))


def test_processor_time_of_a_process_that_is_gone_is_none() -> None:
    assert cpu_s([2**22 + 1]) == 0.0


def test_a_program_that_does_not_run_is_named() -> None:
    with pytest.raises(AssertionError, match="no-such-program"):
        find_below(1, "no-such-program")
