"""Media over the Graph API: upload, reference by id, bytes by a short-lived URL; and the number itself."""

import time
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile

from core.errors import BodyTooLarge, RequestInvalid
from sandbox.emulator.attachments import file_body, file_name, refuse_large_form
from sandbox.emulator.config import Business
from sandbox.emulator.graph_access import bearer, businesses_of_caller, called_business
from sandbox.emulator.graph_errors import missing, no_such_object, titled
from sandbox.emulator.media import FILE_BYTES_MAX, MediaFile
from sandbox.emulator.state import Emulator, emulator_of

router = APIRouter()


@router.post("/{version}/{phone_number_id}/media")
async def upload_media(version: str, phone_number_id: str, request: Request) -> JSONResponse:
    """Take one file that a later message will carry."""
    emulator = emulator_of(request)
    called_business(emulator, request, version, phone_number_id)
    try:
        refuse_large_form(request)
        return JSONResponse({"id": (await _kept_file(emulator, phone_number_id, request)).id})
    except (BodyTooLarge, RequestInvalid) as error:
        raise titled(131053, details=error.message) from error


@router.get("/whatsapp_business/attachments/")
async def download_media(request: Request) -> Response:
    """The bytes of a file, by its short-lived URL; Meta serves them from lookaside.fbsbx.com."""
    emulator = emulator_of(request)
    numbers = {business.phone_number_id for business in emulator.businesses_of(bearer(request))}
    file = emulator.media.by_url(dict(request.query_params), now_s=time.time())
    if file is None or file.phone_number_id not in numbers:
        return PlainTextResponse("URL signature mismatch or expired", 404)
    return Response(file.body, media_type=file.mime, headers={"x-content-type-options": "nosniff"})


@router.get("/{version}/{object_id}")
async def read_object(version: str, object_id: str, request: Request) -> JSONResponse:
    """A media file by reference, or a phone number."""
    emulator = emulator_of(request)
    businesses = businesses_of_caller(emulator, request, version)
    for business in businesses:
        if business.phone_number_id == object_id:
            return JSONResponse(_phone_number(business))
    file = emulator.media.find(object_id)
    if file is None or file.phone_number_id not in {business.phone_number_id for business in businesses}:
        raise no_such_object("get", object_id)
    return JSONResponse(_reference(emulator, file, str(request.base_url)))


async def _kept_file(emulator: Emulator, phone_number_id: str, request: Request) -> MediaFile:
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise missing("file")
        mime = str(form.get("type") or file.content_type or "application/octet-stream")
        kind = mime.partition("/")[0]
        kind = kind if kind in FILE_BYTES_MAX else "document"
        body = await file_body(file, kind)
        return emulator.media.add(
            phone_number_id=phone_number_id, kind=kind, mime=mime, name=file_name(file), body=body
        )


def _phone_number(business: Business) -> dict[str, object]:
    return {
        "verified_name": business.name,
        "display_phone_number": business.display_phone_number,
        "quality_rating": "GREEN",
        "platform_type": "CLOUD_API",
        "code_verification_status": "VERIFIED",
        "id": business.phone_number_id,
    }


def _reference(emulator: Emulator, file: MediaFile, base_url: str) -> dict[str, object]:
    query = urlencode(emulator.media.url_query(file.id, now_s=time.time()))
    return {
        "messaging_product": "whatsapp",
        "url": f"{base_url}whatsapp_business/attachments/?{query}",
        "mime_type": file.mime,
        "sha256": file.sha256_hex,
        "file_size": len(file.body),
        "id": file.id,
    }
