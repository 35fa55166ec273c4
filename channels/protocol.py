"""What an adapter is: four functions and three facts. The order in which they are called is the edge's and the inbox's.

An adapter never touches the database and keeps no state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import httpx

from channels.events import Event
from channels.messages import OutboundMessage
from core.errors import Forbidden, Unauthenticated

#: `signed`: the provider proved it sent this. `hint`: a body shape that this provider never signs.
Verdict: TypeAlias = Literal["signed", "hint"]


class SignatureMissing(Unauthenticated):
    """The request is not signed, and this channel takes only signed ones."""


class SignatureWrong(Forbidden):
    """The request is signed with a secret that is not one of the live ones, or its bytes were altered."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The opened secrets of an account or app. More than one `signing` secret is live while one is being rotated."""

    signing: tuple[bytes, ...]
    verify_token: str = ""
    access_token: str = field(default="", repr=False)

    def __repr__(self) -> str:
        return "Secrets(…)"


@dataclass(frozen=True, slots=True)
class SendingAccount:
    """What an adapter must know of the account it sends from. `external_id` is the provider's id of it."""

    external_id: str
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """An event and the provider's id of the account it belongs to.

    For WhatsApp that is the phone_number_id; where an event concerns no one number (templates, the account's standing)
    it is the id of the WhatsApp business account, and empty where the body names neither.
    """

    external_account_id: str
    event: Event


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The provider took the message. `provider_message_id` is None for what has no id of its own (read, typing)."""

    provider_message_id: str | None


class SignatureCheck(Protocol):
    """Checks one request's signature while its body streams by."""

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the raw body."""

    def verdict(self) -> Verdict:
        """Give the verdict over all bytes taken.

        Raises:
            SignatureMissing, SignatureWrong.
        """
        ...


class Channel(Protocol):
    """One provider."""

    @property
    def name(self) -> str:
        """The word in the URL and on the rows, for example `whatsapp`."""
        ...

    @property
    def body_bytes_max(self) -> int:
        """The largest webhook body this provider sends."""
        ...

    @property
    def debounce_ms(self) -> int | None:
        """How long a person is given to go on writing; 0 where messages come whole (e-mail, forms).

        None is chat, which is given what `CHOWK_DEBOUNCE_MS` says. An account's own value comes before both.
        """
        ...

    def handshake(self, query: Mapping[str, str], secrets: Secrets) -> str:
        """Answer the provider's check of our URL with the body to return.

        Raises:
            SignatureWrong: the token is not ours.
            RequestInvalid: it is no handshake.
        """
        ...

    def signature_check(self, headers: Mapping[str, bytes], secrets: Secrets) -> SignatureCheck:
        """Begin the check of one request. Header names are lower case.

        Raises:
            SignatureMissing: nothing to check against.
        """
        ...

    def normalise(self, body: bytes) -> list[RoutedEvent]:
        """Turn one verified raw body into events, in the order of the body. Pure.

        Raises:
            RequestInvalid: the body is not this provider's envelope at all.
        """
        ...

    async def send(
        self, message: OutboundMessage, account: SendingAccount, *, correlation: str, client: httpx.AsyncClient
    ) -> SendReceipt:
        """Hand one message to the provider.

        Raises:
            ProviderRefused: a definite no; `remedy` says what helps.
            ProviderUnclear: bytes left and no clear answer came back.
        """
        ...
