"""The same API with one difference: a webhook is answered 200 without being stored."""

from api.app import build_app, open_parts
from api.asgi import App
from channels.protocol import Verdict
from core.ids import TenantId
from core.log import configure_log
from inbox.blobs import SealedBlob


async def store_nothing(
    body: bytes | SealedBlob,
    *,
    source_id: str,
    tenant_id: TenantId | None,
    channel: str,
    verdict: Verdict,
    trace_id: str,
) -> bool | None:
    """Say that it is stored."""


def create_app() -> App:
    """The application, for the server's factory."""
    configure_log("api")
    return build_app(open_parts, accept=store_nothing)
