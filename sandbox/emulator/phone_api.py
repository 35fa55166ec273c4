"""What the phone page calls: who there is, what was said, what a customer does, and the stream of what happens."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from core.errors import BodyTooLarge, NotFound, RequestInvalid
from sandbox.emulator.acts import CustomerAct, Performed
from sandbox.emulator.attachments import file_body, file_name, refuse_large_form
from sandbox.emulator.customers import perform
from sandbox.emulator.media import FILE_BYTES_MAX, MediaFile
from sandbox.emulator.state import Emulator, emulator_of

JSON_BYTES_MAX = 512 * 1024
EVENT_ID_CHARS_MAX = 64
#: Files of these types are shown by the page; all others are offered for download.
_SHOWN = re.compile(r"(image/(png|jpeg|gif|webp)|audio/[\w.+-]+|video/[\w.+-]+)(;.*)?")
_MIME = re.compile(r"[\w.+-]+/[\w.+-]+(;\s*[\w.+-]+=[\w.+-]+)*")

router = APIRouter(prefix="/sandbox")


@router.get("/state")
async def state(request: Request, customer: str | None = None, business: str | None = None) -> dict[str, object]:
    """Who there is; with `customer` their chats; with `business` too, what the two said to each other."""
    emulator = emulator_of(request)
    return {
        "businesses": [_business(emulator, one.phone_number_id) for one in emulator.config.businesses],
        "customers": [
            {**one.model_dump(), "id": one.id, "talks_to": _numbers(emulator, one.talks_to)}
            for one in emulator.config.customers
        ],
        "chats": _chats(emulator, customer) if customer else {},
        "transcript": [m.as_json() for m in emulator.transcript.chat(business, customer)]
        if customer and business
        else [],
        "last_event_id": emulator.events.last_id,
    }


@router.delete("/state")
async def start_over(request: Request) -> dict[str, object]:
    """Forget every conversation, fault and sent message; open pages begin anew."""
    emulator = emulator_of(request)
    emulator.start_over()
    return {"last_event_id": emulator.events.last_id}


@router.get("/events")
async def events(
    request: Request,
    customer: str,
    after: Annotated[str | None, Query(max_length=EVENT_ID_CHARS_MAX)] = None,
    last_event_id: Annotated[str | None, Header(max_length=EVENT_ID_CHARS_MAX)] = None,
) -> StreamingResponse:
    """Server-sent events of one customer: `message` (new or changed), `typing`, and `reset` (read the state again)."""
    emulator = emulator_of(request)
    stream = emulator.events.stream(emulator.customer(customer).id, last_event_id or after)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


@router.post("/customers/{customer_id}/messages")
async def act(customer_id: str, request: Request) -> Performed:
    """A customer does something: JSON, or a form with the same fields and a `file`."""
    emulator = emulator_of(request)
    customer = emulator.customer(customer_id)
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        asked = _checked(await _json_bytes(request))
        return perform(emulator, emulator.business(asked.business), customer, asked, None)
    refuse_large_form(request)
    async with request.form(max_files=1, max_fields=20) as form:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        asked = _checked(fields)
        business = emulator.business(asked.business)
        return perform(emulator, business, customer, asked, await _kept_file(emulator, asked, form))


@router.get("/media/{media_id}")
async def media(media_id: str, request: Request) -> Response:
    """A file as the phone shows it. A stranger's file is never run as a page of ours."""
    file = emulator_of(request).media.find(media_id)
    if file is None:
        raise NotFound(f"file {media_id!r} is not kept any more")
    headers = {
        "content-security-policy": "sandbox; default-src 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "private, max-age=3600",
    }
    if _SHOWN.fullmatch(file.mime):
        return Response(file.body, media_type=file.mime, headers=headers)
    headers["content-disposition"] = "attachment"
    return Response(file.body, media_type="application/octet-stream", headers=headers)


def _business(emulator: Emulator, phone_number_id: str) -> dict[str, object]:
    """A business without its secrets."""
    business = emulator.business(phone_number_id)
    return {
        "id": business.phone_number_id,
        "name": business.name,
        "slug": business.slug,
        "about": business.about,
        "display_phone_number": business.display_phone_number,
        "suggestions": list(business.suggestions),
    }


def _numbers(emulator: Emulator, slugs: tuple[str, ...]) -> list[str]:
    by_slug = {business.slug: business.phone_number_id for business in emulator.config.businesses if business.slug}
    return [by_slug[slug] for slug in slugs if slug in by_slug]


def _chats(emulator: Emulator, customer_id: str) -> dict[str, object]:
    """The last message of each chat, by the business's id."""
    chats = {
        b.phone_number_id: emulator.transcript.chat(b.phone_number_id, customer_id) for b in emulator.config.businesses
    }
    return {phone_number_id: messages[-1].as_json() for phone_number_id, messages in chats.items() if messages}


async def _json_bytes(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_BYTES_MAX:
            raise BodyTooLarge(f"body is over {JSON_BYTES_MAX} bytes; send files as a form")
    return bytes(body)


def _checked(given: bytes | dict[str, str]) -> CustomerAct:
    try:
        return CustomerAct.model_validate_json(given) if isinstance(given, bytes) else CustomerAct.model_validate(given)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}" for fault in error.errors()
        ]
        raise RequestInvalid("; ".join(lines)) from None


async def _kept_file(emulator: Emulator, asked: CustomerAct, form: FormData) -> MediaFile | None:
    file = form.get("file")
    if not isinstance(file, UploadFile):
        return None
    if asked.kind not in FILE_BYTES_MAX:
        raise RequestInvalid(f"kind {asked.kind} takes no file; use image, audio, video or document")
    mime = file.content_type or ""
    return emulator.media.add(
        phone_number_id=asked.business,
        kind=asked.kind,
        mime=mime if _MIME.fullmatch(mime) else "application/octet-stream",
        name=file_name(file),
        body=await file_body(file, asked.kind),
    )
