"""The emulator as one ASGI app: the Graph API, the phone page, and the levers.

Start it with `granian --interface asgi --factory sandbox.emulator.app:create_app --workers-kill-timeout 2`; it holds
its state in one process, so it must have one worker.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from core.errors import ChowkError, Forbidden
from core.log import configure_log
from sandbox.emulator import control, graph_api, graph_media, phone_api
from sandbox.emulator.config import EmulatorConfig, load_config
from sandbox.emulator.graph_access import unknown_path
from sandbox.emulator.graph_errors import GraphError, answer
from sandbox.emulator.state import emulator_of, new_emulator

PHONE_FOLDER = Path(__file__).parent.parent / "phone"
#: Name and media type of everything the page is made of.
PHONE_FILES = {
    "index.html": "text/html; charset=utf-8",
    "phone.css": "text/css; charset=utf-8",
    "phone.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def create_app(config: EmulatorConfig | None = None) -> FastAPI:
    """Build the app; without `config` it is read from the file that `CHOWK_SANDBOX_CONFIG` names.

    Raises:
        SettingInvalid: the file is missing or wrong.
    """
    if config is None:
        configure_log("sandbox")
        config = load_config()
    app = FastAPI(
        title="Chowk sandbox", docs_url=None, redoc_url=None, openapi_url="/sandbox/openapi.json", lifespan=_life
    )
    app.state.emulator = new_emulator(config)
    same_origin = [Depends(_refuse_other_origins)]
    app.include_router(phone_api.router, dependencies=same_origin)
    app.include_router(control.router, dependencies=same_origin)
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/phone/{name}", _page_file, include_in_schema=False)
    app.add_api_route("/healthz", _healthz)
    app.include_router(graph_api.router)
    app.include_router(graph_media.router)
    app.add_exception_handler(GraphError, _graph_error)
    app.add_exception_handler(ChowkError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncGenerator[None]:
    app.state.emulator.post.start()
    try:
        yield
    finally:
        await app.state.emulator.post.stop()


async def _page() -> FileResponse:
    return _file("index.html")


async def _page_file(name: str) -> Response:
    if name not in PHONE_FILES:
        raise HTTPException(404)
    return _file(name)


def _file(name: str) -> FileResponse:
    return FileResponse(PHONE_FOLDER / name, media_type=PHONE_FILES[name], headers=PAGE_HEADERS)


async def _healthz(request: Request) -> dict[str, object]:
    emulator = emulator_of(request)
    return {"status": "ok", "businesses": len(emulator.config.businesses), "pending_webhooks": emulator.post.pending}


async def _refuse_other_origins(request: Request) -> None:
    """A page of another origin, open in the same browser, may not pull the levers."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise Forbidden(f"origin {origin!r} may not use the sandbox; open its own page")


async def _graph_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GraphError)
    return answer(error)


async def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChowkError)
    return _problem_answer(error.status, error.code, error.message)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
    return _problem_answer(400, "request_invalid", "; ".join(lines))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if request.url.path.startswith(("/sandbox", "/phone")):
        return _problem_answer(error.status_code, "http_error", str(error.detail))
    return answer(unknown_path(request))


def _problem_answer(status: int, title: str, detail: str) -> JSONResponse:
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(problem, status, media_type="application/problem+json")
