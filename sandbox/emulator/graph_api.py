"""POST /{version}/{phone_number_id}/messages: messages and read marks of the product arrive, and go wrong on demand."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from sandbox.emulator.faults import Fault
from sandbox.emulator.graph_access import called_business, json_body
from sandbox.emulator.graph_errors import titled
from sandbox.emulator.sending import accept, mark_read
from sandbox.emulator.sent_log import SentMessage
from sandbox.emulator.state import Emulator, emulator_of
from sandbox.emulator.validation import Outbound, ReadMark, checked

#: How long a call that is never answered stays open if the caller never hangs up.
HANG_S_MAX = 300.0

router = APIRouter()


@router.post("/{version}/{phone_number_id}/messages")
async def send_message(version: str, phone_number_id: str, request: Request) -> Response:
    """Take one message, or a read mark with its typing sign."""
    emulator = emulator_of(request)
    business = called_business(emulator, request, version, phone_number_id)
    body = await json_body(request)
    asked = checked(body)
    if isinstance(asked, ReadMark):
        fault = emulator.faults.take(phone_number_id, "read")
        if fault is None or fault.accepts:
            mark_read(emulator, asked)
        return await _answer(JSONResponse({"success": True}), fault, request)
    _refuse_missing_media(emulator, asked)
    fault = emulator.faults.take(phone_number_id, "message")
    if fault is not None and not fault.accepts:
        return await _answer(Response(), fault, request)
    sent = accept(emulator, business, asked, body, fault)
    return await _answer(JSONResponse(_receipt(asked, sent)), fault, request)


def _refuse_missing_media(emulator: Emulator, outbound: Outbound) -> None:
    media_id = outbound.content.media_id
    if media_id is not None and emulator.media.find(media_id) is None:
        raise titled(131053, details=f"media {media_id} was not uploaded or has expired")


def _receipt(outbound: Outbound, sent: SentMessage) -> dict[str, object]:
    recipient = outbound.recipient
    who = {"wa_id": recipient.wa_id} if recipient.wa_id else {"user_id": recipient.bsuid}
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": recipient.given, **who}],
        "messages": [{"id": sent.id}],
    }


async def _answer(response: Response, fault: Fault | None, request: Request) -> Response:
    """Answer as the fault wants it; plainly where there is none.

    Raises:
        GraphError: the fault is of kind `error`.
    """
    if fault is None or fault.kind == "status_failed":
        return response
    match fault.kind:
        case "error":
            raise titled(
                fault.code, http_status=fault.http_status, details=fault.details, retry_after_s=fault.retry_after
            )
        case "http_500":
            return PlainTextResponse("Sorry, something went wrong.", 500)
        case "reset":
            return StreamingResponse(_broken_off(), headers={"content-length": "4096"}, media_type="application/json")
        case "delay":
            await _stay_silent(request, fault.ms / 1000)
            return response
        case "timeout" | "timeout_after_accept":
            await _stay_silent(request, HANG_S_MAX)
            return PlainTextResponse("", 504)


async def _broken_off() -> AsyncIterator[bytes]:
    """An answer that promises more than it gives: the server closes the connection on it."""
    yield b'{"messaging_product":'


async def _stay_silent(request: Request, silent_s: float) -> None:
    """Say nothing for a while, or until the caller hangs up."""
    try:
        async with asyncio.timeout(silent_s):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return
