"""Every channel by its name. A new channel is one module or package and one line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from channels import whatsapp
from channels.protocol import Channel
from core.errors import NotFound

CHANNELS: Final[Mapping[str, Channel]] = MappingProxyType({whatsapp.name: whatsapp})


def channel(name: str) -> Channel:
    """The adapter of that name.

    Raises:
        NotFound: there is no such channel.
    """
    try:
        return CHANNELS[name]
    except KeyError:
        raise NotFound(f"no channel is named {name[:64]!r}; known are {', '.join(CHANNELS)}") from None
