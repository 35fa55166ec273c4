"""Secrets on the command line: from an option, from a variable, or from standard input, never shown again."""

import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RequestInvalid

if TYPE_CHECKING:
    from channels.protocol import Secrets

VERIFY_TOKEN_BYTES = 16
#: In place of a secret: read it from standard input.
FROM_STDIN = "-"

SigningSecrets = Annotated[
    list[str] | None,
    typer.Option(
        "--signing-secret",
        envvar="CHOWK_SIGNING_SECRET",
        help="What webhooks are signed with (Meta: the app secret). Repeat it while one is being rotated; `-` reads a "
        "line of standard input.",
    ),
]
VerifyToken = Annotated[
    str, typer.Option(envvar="CHOWK_VERIFY_TOKEN", help="For the provider's handshake; made if you give none.")
]
AccessToken = Annotated[
    str, typer.Option(envvar="CHOWK_ACCESS_TOKEN", help="What we send with; `-` reads a line of standard input.")
]


def gather_secrets(*, signing: list[str], verify_token: str, access_token: str) -> "Secrets":
    """The secrets of one account or app. Those given as `-` are read from standard input, in this order.

    Raises:
        RequestInvalid: standard input ended, or a signing secret is empty.
    """
    from channels.protocol import Secrets

    opened = tuple(_given("--signing-secret", secret) for secret in signing)
    if "" in opened:
        raise RequestInvalid("--signing-secret is empty: anyone could sign with an empty secret")
    return Secrets(
        signing=tuple(secret.encode() for secret in opened),
        verify_token=verify_token or secrets.token_urlsafe(VERIFY_TOKEN_BYTES),
        access_token=_given("--access-token", access_token),
    )


def _given(option: str, value: str) -> str:
    if value != FROM_STDIN:
        return value
    line = sys.stdin.readline()
    if not line:
        raise RequestInvalid(f"{option} is `-`, and standard input has no line for it")
    return line.rstrip("\r\n")
