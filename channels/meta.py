"""What Meta's channels share: the handshake, the signature, the envelope's name and the shape of a Graph error.

Wire facts: developers.facebook.com/docs/graph-api/webhooks/getting-started and
developers.facebook.com/docs/graph-api/guides/error-handling.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from channels.json_body import read_json
from channels.protocol import Secrets, SignatureCheck, SignatureMissing, SignatureWrong
from channels.signatures import HmacSha256Check, same_secret
from core.errors import NotFound, RequestInvalid
from core.settings import MetaSettings, load

SIGNATURE_HEADER: Final = "x-hub-signature-256"
SIGNATURE_PREFIX: Final = b"sha256="

WHATSAPP_OBJECT: Final = "whatsapp_business_account"
#: The envelope's `object` and the channel it stands for.
CHANNEL_OF_OBJECT: Final[Mapping[str, str]] = MappingProxyType(
    {WHATSAPP_OBJECT: "whatsapp", "page": "messenger", "instagram": "instagram"}
)


def handshake(query: Mapping[str, str], secrets: Secrets) -> str:
    """Answer Meta's check of our URL: the bare challenge, to be sent back as plain text.

    Raises:
        SignatureWrong: the verify token is not the account's, or the account has none.
        RequestInvalid: `hub.mode` is not `subscribe`, or there is no challenge.
    """
    mode = query.get("hub.mode")
    if mode != "subscribe":
        raise RequestInvalid(f"hub.mode is {mode!r}, not 'subscribe': this is no handshake of Meta's")
    if not same_secret(query.get("hub.verify_token", ""), secrets.verify_token):
        raise SignatureWrong("hub.verify_token is not this account's: enter the account's own in Meta's console")
    challenge = query.get("hub.challenge", "")
    if not challenge:
        raise RequestInvalid("hub.challenge is missing: there is nothing to answer the handshake with")
    return challenge


def signature_check(headers: Mapping[str, bytes], secrets: Secrets) -> SignatureCheck:
    """Begin the check of one POST: HMAC-SHA256 of the raw body with the app secret, in `X-Hub-Signature-256`.

    Raises:
        SignatureMissing: the header is absent.
    """
    given = headers.get(SIGNATURE_HEADER)
    if given is None:
        raise SignatureMissing("X-Hub-Signature-256 is missing: Meta signs every webhook, so this is not from Meta")
    return HmacSha256Check(given, secrets.signing, source="X-Hub-Signature-256", prefix=SIGNATURE_PREFIX)


def channel_name_of(body: bytes) -> str:
    """The channel that a body posted to `/webhooks/meta` belongs to, by the envelope's `object`.

    Raises:
        RequestInvalid: the body is no envelope of Meta's.
        NotFound: it is one, of an `object` that no channel of ours stands for.
    """
    envelope = read_json(body)
    kind = envelope.get("object") if isinstance(envelope, dict) else None
    if not isinstance(kind, str):
        raise RequestInvalid("the body has no `object` that is a string: it is no envelope of Meta's")
    try:
        return CHANNEL_OF_OBJECT[kind]
    except KeyError:
        known = ", ".join(CHANNEL_OF_OBJECT)
        raise NotFound(f"no channel stands for the object {kind[:64]!r}; known are {known}") from None


@cache
def graph_version() -> str:
    """The version of the Graph API that we speak, for example `v26.0`; read from the settings once per process.

    Raises:
        SettingInvalid: CHOWK_META_GRAPH_VERSION is wrong.
    """
    return load(MetaSettings).graph_version


@dataclass(frozen=True, slots=True)
class GraphFault:
    """What Graph said when it refused a call. Decide on `code`; the wording changes."""

    code: int
    message: str
    details: str | None
    #: Graph's own word that the same call may succeed later.
    transient: bool


def graph_fault(body: bytes) -> GraphFault | None:
    """The error that an answer of Graph's carries; None where the body is not Graph's error shape."""
    try:
        error = _GraphAnswer.model_validate(read_json(body)).error
    except (RequestInvalid, ValidationError):
        return None
    details = error.error_data.details if isinstance(error.error_data, _ErrorData) else error.error_data
    return GraphFault(error.code, error.message, details or None, error.is_transient)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _ErrorData(_Answer):
    details: str | None = None


class _GraphError(_Answer):
    code: int
    message: str = ""
    #: An object for WhatsApp; other parts of Graph put a plain string here.
    error_data: _ErrorData | str | None = None
    is_transient: bool = False


class _GraphAnswer(_Answer):
    error: _GraphError
