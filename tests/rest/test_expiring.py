import pytest

from rest.expiring import Expiring


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr("rest.expiring.time", clock)
    return clock


def test_a_value_is_kept_for_its_time_and_no_longer(time: Time) -> None:
    kept: Expiring[str, int] = Expiring(ttl_s=30, size_max=10)
    kept.put("a", 1)
    time.now = 30.0
    assert kept.get("a") == 1
    time.now = 30.1
    assert kept.get("a") is None


def test_asking_does_not_make_a_value_younger(time: Time) -> None:
    kept: Expiring[str, int] = Expiring(ttl_s=30, size_max=10)
    kept.put("a", 1)
    for moment in (10.0, 20.0, 29.0):
        time.now = moment
        assert kept.get("a") == 1
    time.now = 31.0
    assert kept.get("a") is None


def test_the_oldest_makes_room() -> None:
    kept: Expiring[int, int] = Expiring(ttl_s=30, size_max=3)
    for number in range(5):
        kept.put(number, number)
    assert [kept.get(number) for number in range(5)] == [None, None, 2, 3, 4]


def test_a_value_that_is_put_again_is_the_youngest() -> None:
    kept: Expiring[str, int] = Expiring(ttl_s=30, size_max=2)
    for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        kept.put(key, value)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (3, None, 4)


def test_a_forgotten_value_is_gone() -> None:
    kept: Expiring[str, int] = Expiring(ttl_s=30, size_max=2)
    kept.put("a", 1)
    kept.forget("a")
    kept.forget("a")
    assert kept.get("a") is None
