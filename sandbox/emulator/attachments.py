"""Files as they come in by a form and as the phone page shows them."""

from fastapi import Request
from starlette.datastructures import UploadFile

from core.errors import BodyTooLarge, RequestInvalid
from sandbox.emulator.media import FILE_BYTES_MAX, MediaStore
from sandbox.emulator.transcript import Attachment

#: What a form may weigh beside its file.
FORM_BYTES_MAX = 64 * 1024
FILE_NAME_CHARS_MAX = 240


def refuse_large_form(request: Request) -> None:
    """Refuse a form before it is read, by the length it announces.

    Raises:
        BodyTooLarge: it announces more than any kind of file may weigh.
        RequestInvalid: it announces nothing.
    """
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise RequestInvalid("a form needs a Content-Length header; send one")
    bytes_max = max(FILE_BYTES_MAX.values()) + FORM_BYTES_MAX
    if int(length) > bytes_max:
        raise BodyTooLarge(f"form of {length} bytes is over the limit of {bytes_max}; send a smaller file")


async def file_body(file: UploadFile, kind: str) -> bytes:
    """The bytes of a file.

    Raises:
        BodyTooLarge: it is over the limit of its kind.
    """
    bytes_max = FILE_BYTES_MAX[kind]
    body = await file.read(bytes_max + 1)
    if len(body) > bytes_max:
        raise BodyTooLarge(f"{kind} is over the limit of {bytes_max} bytes; send a smaller file")
    return body


def file_name(file: UploadFile) -> str | None:
    """The name of a file without the folders before it; None where it has none."""
    name = (file.filename or "").replace("\\", "/").rpartition("/")[2].strip()
    return name[:FILE_NAME_CHARS_MAX] or None


def media_attachment(media: MediaStore, media_id: str | None, *, name: str | None = None) -> Attachment | None:
    """How the phone page shows a file; None where there is none or it was dropped."""
    file = media.find(media_id) if media_id is not None else None
    if file is None:
        return None
    url = f"/sandbox/media/{file.id}"
    return Attachment(id=file.id, mime=file.mime, name=name or file.name, size_bytes=len(file.body), url=url)
