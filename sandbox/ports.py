"""Ports on 127.0.0.1 for the embedded servers."""

import random
import socket

from core.errors import SettingInvalid

HOST = "127.0.0.1"

#: Below the kernel's range for outgoing connections (from 32768 on Linux): a client that keeps dialling a stopped
#: server's port from that range can end up connected to itself and so hold the port for good.
PORT_MIN = 20_000
PORT_MAX = 30_000

ATTEMPTS_MAX = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None, *, taken: frozenset[int] = frozenset()) -> int:
    """The preferred port if it is free, else a free one that is not among `taken`.

    Raises:
        SettingInvalid: no free port was found.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    for _ in range(ATTEMPTS_MAX):
        port = random.randint(PORT_MIN, PORT_MAX)
        if port not in taken and is_free(port):
            return port
    raise SettingInvalid(f"no free port between {PORT_MIN} and {PORT_MAX} on {HOST}; stop what listens there")
