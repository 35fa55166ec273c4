"""WhatsApp out: one message becomes one call of the Cloud API, and its outcome is a receipt, a no, or unclear.

The API has no idempotency key, so nothing is sent twice from here: what is unclear stays unclear until the status
webhook brings back `biz_opaque_callback_data`.
"""

import json
import re
from typing import Final
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from channels.json_body import read_json
from channels.messages import OutboundMessage, ReadAndTyping
from channels.meta import GraphFault, graph_fault, graph_version
from channels.protocol import SendingAccount, SendReceipt
from channels.whatsapp.errors import remedy_of
from channels.whatsapp.requests import read_and_typing, request_body
from core.errors import ProviderRefused, ProviderUnclear, RequestInvalid

RETRY_AFTER_S_MAX: Final = 3600
UNAUTHORIZED: Final = 401
#: Request timeout: it never arrived whole; and too many requests.
PASSING: Final = frozenset({408, 429})

#: What a header can carry as it stands.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
#: What httpx raises before a byte of the request left: no connection, none free in the pool, or no URL to connect to.
_NOTHING_LEFT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


async def send(
    message: OutboundMessage, account: SendingAccount, *, correlation: str, client: httpx.AsyncClient
) -> SendReceipt:
    """Hand one message to WhatsApp. `client` has the Graph URL as its base; `correlation` comes back on statuses.

    Raises:
        ProviderRefused: a definite no; `remedy` says what helps, `retry_after_s` what WhatsApp asked for.
        ProviderUnclear: bytes left and no clear answer came back.
        SettingInvalid: the Graph version is wrong.
    """
    if isinstance(message, ReadAndTyping):
        await _post(read_and_typing(message), account, client)
        return SendReceipt(None)
    response = await _post(request_body(message, correlation), account, client)
    try:
        sent = _Sent.model_validate(read_json(response.content))
    except (RequestInvalid, ValidationError) as error:
        raise ProviderUnclear(
            f"WhatsApp answered {response.status_code} without the id of the message: it may have been sent"
        ) from error
    return SendReceipt(sent.messages[0].id)


async def _post(body: dict[str, JsonValue], account: SendingAccount, client: httpx.AsyncClient) -> httpx.Response:
    token = account.secrets.access_token
    if not _TOKEN.fullmatch(token):
        raise ProviderRefused(
            f"number {account.external_id} has no access token that can be sent: enter it again",
            remedy="stop",
            provider_code="access_token",
        )
    url = f"/{graph_version()}/{quote(account.external_id, safe='')}/messages"
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        response = await client.post(url, content=json.dumps(body).encode("ascii"), headers=headers)
    except _NOTHING_LEFT as error:
        raise ProviderRefused(
            f"no connection to {str(client.base_url)!r}: {str(error) or type(error).__name__}; nothing was sent",
            remedy="retry",
            provider_code="connect",
        ) from error
    except httpx.RequestError as error:
        raise ProviderUnclear(
            f"the call to {client.base_url.host} broke off with {type(error).__name__}: it may have been sent"
        ) from error
    _check(response, token)
    return response


def _check(response: httpx.Response, token: str) -> None:
    """Raise unless WhatsApp took the call."""
    fault = graph_fault(response.content)
    if fault is not None:
        raise _refusal(fault, response, token)
    if response.is_success:
        return
    if response.is_client_error:
        raise ProviderRefused(
            f"WhatsApp answered {response.status_code} without a reason: check the Graph URL and what stands before it",
            remedy=_remedy_by_status(response.status_code),
            provider_code=f"http_{response.status_code}",
            retry_after_s=_retry_after_s(response),
        )
    raise ProviderUnclear(f"WhatsApp answered {response.status_code} without a reason: it may have been sent")


def _refusal(fault: GraphFault, response: httpx.Response, token: str) -> ProviderRefused:
    by_status = "retry" if fault.transient else _remedy_by_status(response.status_code)
    words = f"{fault.message}: {fault.details}" if fault.details else fault.message
    return ProviderRefused(
        # Graph repeats a token that it finds malformed.
        f"WhatsApp refused with code {fault.code}: {words.replace(token, '…')}",
        remedy=remedy_of(str(fault.code)) or by_status,
        provider_code=str(fault.code),
        retry_after_s=_retry_after_s(response),
    )


def _remedy_by_status(status: int) -> str:
    if status == UNAUTHORIZED:
        return "stop"
    return "retry" if status in PASSING else "person"


def _retry_after_s(response: httpx.Response) -> float | None:
    """What `Retry-After` asks for, in seconds and at most an hour; None where it is absent or a date."""
    asked = response.headers.get("retry-after", "")
    if not (asked.isascii() and asked.isdigit()):
        return None
    return float(min(int(asked[:9]), RETRY_AFTER_S_MAX))


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class _SentMessage(_Answer):
    id: str = Field(min_length=1)


class _Sent(_Answer):
    messages: tuple[_SentMessage, ...] = Field(min_length=1)
