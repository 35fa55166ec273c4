import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from channels.events import Identity
from channels.messages import OutboundMessage, OutboundText, ReadAndTyping
from channels.protocol import Secrets, SendingAccount, SendReceipt
from channels.whatsapp import send
from core.errors import ProviderRefused, ProviderUnclear
from core.http import provider_client

TOKEN = "EAAGm0PX4ZCpsBO-access"
ACCOUNT = SendingAccount("106540352242922", Secrets(signing=(b"s",), access_token=TOKEN))
HELLO = OutboundText(to=Identity(kind="wa_id", value="919845012345"), text="नमस्ते 🙏")
READING = ReadAndTyping(provider_message_id="wamid.A")
SENT = {
    "messaging_product": "whatsapp",
    "contacts": [{"input": "919845012345", "wa_id": "919845012345"}],
    "messages": [{"id": "wamid.SENT", "message_status": "accepted"}],
}

Answer = Callable[[httpx.Request], httpx.Response]


def graph_error(code: int, message: str = "no", *, status: int = 400, **more: Any) -> httpx.Response:
    """An answer in Graph's error shape."""
    headers = more.pop("headers", None)
    error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "Az", **more}
    return httpx.Response(status, json={"error": error}, headers=headers)


async def deliver(
    answer: Answer | httpx.Response | Exception,
    message: OutboundMessage = HELLO,
    *,
    account: SendingAccount = ACCOUNT,
    base_url: str = "https://graph.facebook.com",
) -> SendReceipt:
    """Send one message over a client whose other end gives this answer."""

    def handler(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    async with httpx.AsyncClient(base_url=base_url, transport=httpx.MockTransport(handler)) as client:
        return await send(message, account, correlation="effect-key", client=client)


async def refusal(answer: Answer | httpx.Response | Exception, **more: Any) -> ProviderRefused:
    """The definite no that this answer becomes."""
    with pytest.raises(ProviderRefused) as refused:
        await deliver(answer, **more)
    return refused.value


async def test_a_message_goes_to_the_number_it_is_sent_from() -> None:
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=SENT)

    assert await deliver(take) == SendReceipt("wamid.SENT")
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", "https://graph.facebook.com/v26.0/106540352242922/messages")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["content-type"] == "application/json"
    body = json.loads(request.content)
    assert (body["to"], body["text"]) == ("919845012345", {"body": "नमस्ते 🙏"})
    assert body["biz_opaque_callback_data"] == "effect-key"


async def test_the_graph_url_may_have_a_path_of_its_own() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/graph/v26.0/106540352242922/messages"
        return httpx.Response(200, json=SENT)

    assert await deliver(take, base_url="http://127.0.0.1:9/graph/") == SendReceipt("wamid.SENT")


async def test_an_account_id_cannot_lead_to_another_path() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/v26.0/1%2F..%2Fme%3Fx/messages"
        return httpx.Response(200, json=SENT)

    await deliver(take, account=SendingAccount("1/../me?x", ACCOUNT.secrets))


async def test_reading_and_typing_have_no_id() -> None:
    assert await deliver(httpx.Response(200, json={"success": True}), READING) == SendReceipt(None)


async def test_half_a_surrogate_pair_does_not_break_the_call() -> None:
    def take(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["text"] == {"body": "half \ud83d"}
        return graph_error(131009)

    message = HELLO.model_copy(update={"text": "half \ud83d"})
    assert (await refusal(take, message=message)).remedy == "person"


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout(""),
        httpx.ProxyError("407"),
        httpx.UnsupportedProtocol("no scheme"),
    ],
)
@pytest.mark.parametrize("message", [HELLO, READING])
async def test_where_nothing_left_the_answer_is_a_no_that_may_pass(error: Exception, message: OutboundMessage) -> None:
    refused = await refusal(error, message=message)
    assert (refused.remedy, refused.provider_code) == ("retry", "connect")
    assert "nothing was sent" in refused.message


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        httpx.CloseError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.LocalProtocolError("odd"),
        httpx.DecodingError("gzip"),
    ],
)
async def test_where_bytes_may_have_left_the_outcome_is_unclear(error: Exception) -> None:
    with pytest.raises(ProviderUnclear, match=type(error).__name__):
        await deliver(error)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"messages": []}),
        httpx.Response(200, json={"messages": [{"id": ""}]}),
        httpx.Response(200, json={"messages": [{}]}),
        httpx.Response(200, content=b"[" * 9_999),
        httpx.Response(202),
        httpx.Response(302, headers={"location": "https://login.example.org"}),
        httpx.Response(500, text="oops"),
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(504),
    ],
)
async def test_an_answer_that_tells_nothing_is_unclear(answer: httpx.Response) -> None:
    with pytest.raises(ProviderUnclear, match=f"answered {answer.status_code}"):
        await deliver(answer)


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (graph_error(131047), "person"),
        (graph_error(131026), "person"),
        (graph_error(100), "person"),
        (graph_error(190, status=401), "stop"),
        (graph_error(131031, status=403), "stop"),
        (graph_error(200), "stop"),
        (graph_error(131056), "retry"),
        (graph_error(130429, status=429), "retry"),
        (graph_error(131016, status=500), "retry"),
        (graph_error(1, status=500), "retry"),
        (graph_error(131047, status=200), "person"),
    ],
)
async def test_a_graph_error_is_decided_by_its_code(answer: httpx.Response, remedy: str) -> None:
    refused = await refusal(answer)
    assert refused.remedy == remedy
    assert refused.provider_code == str(answer.json()["error"]["code"])


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (graph_error(999999), "person"),
        (graph_error(999999, status=500), "person"),
        (graph_error(999999, status=429), "retry"),
        (graph_error(999999, status=401), "stop"),
        (graph_error(999999, is_transient=True), "retry"),
    ],
)
async def test_a_graph_error_of_an_unknown_code_is_decided_by_what_else_is_known(
    answer: httpx.Response, remedy: str
) -> None:
    assert (await refusal(answer)).remedy == remedy


@pytest.mark.parametrize(
    ("status", "remedy"), [(400, "person"), (401, "stop"), (404, "person"), (408, "retry"), (429, "retry")]
)
async def test_a_no_without_a_reason_is_decided_by_its_status(status: int, remedy: str) -> None:
    refused = await refusal(httpx.Response(status, text="<html>"))
    assert (refused.remedy, refused.provider_code) == (remedy, f"http_{status}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("86400", 3600.0),
        ("9" * 5_000, 3600.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_retry_after_is_honoured_within_an_hour(header: str, seconds: float | None) -> None:
    for answer in (
        graph_error(130429, status=429, headers={"retry-after": header}),
        httpx.Response(429, headers={"retry-after": header}),
    ):
        refused = await refusal(answer)
        assert (refused.remedy, refused.retry_after_s) == ("retry", seconds)


async def test_a_refusal_says_what_graph_said_but_not_our_token() -> None:
    answer = graph_error(190, f"Malformed access token {TOKEN}", error_data={"details": f"{TOKEN} is dead"})
    refused = await refusal(answer)
    assert refused.message == "WhatsApp refused with code 190: Malformed access token …: … is dead"


@pytest.mark.parametrize("token", ["", " ", "पासवर्ड", "two words", "line\nbreak"])
async def test_a_token_that_cannot_be_sent_stops_the_account(token: str) -> None:
    account = SendingAccount("106540352242922", Secrets(signing=(), access_token=token))
    refused = await refusal(httpx.Response(200, json=SENT), account=account)
    assert (refused.remedy, refused.provider_code) == ("stop", "access_token")


async def test_a_text_over_the_limit_never_leaves() -> None:
    def must_not_be_called(_request: httpx.Request) -> httpx.Response:
        raise AssertionError

    refused = await refusal(must_not_be_called, message=HELLO.model_copy(update={"text": "x" * 4097}))
    assert (refused.remedy, refused.provider_code) == ("person", "limit")


@asynccontextmanager
async def a_server(reply: bytes) -> AsyncGenerator[str]:
    """A server on this machine that reads a request, writes `reply` and hangs up; gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def over_the_wire(base_url: str) -> SendReceipt:
    """Send one message with the client that the product uses."""
    async with provider_client(base_url) as client:
        return await send(HELLO, ACCOUNT, correlation="effect-key", client=client)


async def test_a_port_where_nobody_listens_is_a_no() -> None:
    async with a_server(b"") as base_url:
        pass
    with pytest.raises(ProviderRefused, match="nothing was sent"):
        await over_the_wire(base_url)


async def test_a_url_without_a_scheme_is_a_no() -> None:
    with pytest.raises(ProviderRefused, match="http://"):
        await over_the_wire("graph.facebook.com")


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n!!"],
)
async def test_a_server_that_hangs_up_leaves_it_unclear(reply: bytes) -> None:
    async with a_server(reply) as base_url:
        with pytest.raises(ProviderUnclear):
            await over_the_wire(base_url)
