import pytest

from channels import whatsapp
from channels.registry import CHANNELS, channel
from core.errors import NotFound


def test_a_channel_is_found_by_the_name_it_gives_itself() -> None:
    assert channel("whatsapp") is whatsapp
    assert all(name == one.name for name, one in CHANNELS.items())


def test_a_name_of_no_channel_is_not_found() -> None:
    with pytest.raises(NotFound, match="'telegraph'; known are whatsapp"):
        channel("telegraph")


def test_every_channel_bounds_its_bodies() -> None:
    assert channel("whatsapp").body_bytes_max == 3 * 1024 * 1024
    assert all(0 < one.body_bytes_max <= 40 * 1024 * 1024 for one in CHANNELS.values())
