from collections.abc import Callable

import pytest

from channels.registry import CHANNELS
from tests.channels.conformance import CHECKS, Subject
from tests.channels.subjects import SUBJECTS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_channel_keeps_the_contract(name: str, check: Callable[[Subject], None]) -> None:
    check(SUBJECTS[name])


def test_every_channel_of_the_registry_is_put_to_the_test() -> None:
    assert SUBJECTS.keys() == CHANNELS.keys()
    for name, subject in SUBJECTS.items():
        assert subject.channel is CHANNELS[name]
        assert subject.channel.name == name
