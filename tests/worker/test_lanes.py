import pytest

from core.errors import SettingInvalid
from worker.lanes import LANES, STAGE_OF_RING, known_lanes


def test_lanes_are_taken_once_each() -> None:
    assert known_lanes(["interactive", "interactive"]) == ("interactive",)


@pytest.mark.parametrize("names", [[], ["interactive", "fast"]])
def test_a_worker_of_no_lane_or_of_one_that_there_is_not_is_refused(names: list[str]) -> None:
    with pytest.raises(SettingInvalid, match="interactive, background"):
        known_lanes(names)


def test_every_lane_has_a_stage_that_its_bell_wakes() -> None:
    assert set(STAGE_OF_RING) == set(LANES)
