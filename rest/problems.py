"""Problem documents (RFC 9457): every error of an API of ours has this one shape, and none shows a stack trace."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from core.errors import ChowkError, Overloaded
from core.log import logger

log = logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
CLIENT_ERRORS = range(400, 500)
_REF = "#/components/schemas/{model}"


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    #: Where, for example `query.limit`.
    field: str
    message: str


class Problem(BaseModel):
    """What went wrong, and what to do about it (RFC 9457)."""

    type: str = Field(default="about:blank", description="Always about:blank: `code` tells problems apart")
    title: str = Field(description="The status in words")
    status: int
    code: str = Field(description="The stable name of this problem, for programs")
    detail: str = Field(description="What happened and what to do, for people")
    instance: str = Field(description="The path that was asked for")
    errors: list[Fault] = Field(default_factory=list, description="Each fault of an invalid request")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's own type
    """The `responses` of a router: problem documents for these statuses."""
    return {status: _documented(status) for status in statuses}


def openapi_with_problems(app: FastAPI) -> dict[str, Any]:  # Any: an OpenAPI document
    """The application's OpenAPI document, made once; a 422 is described as the problem that it is."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(models_json_schema([(Problem, "serialization")], ref_template=_REF)[1]["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for operations in document["paths"].values():
            for operation in operations.values():
                if "422" in operation["responses"]:
                    operation["responses"]["422"] = _documented(HTTPStatus.UNPROCESSABLE_ENTITY)
        app.openapi_schema = document
    return app.openapi_schema


def install_problems(app: FastAPI) -> None:
    """Answer every error of this application with a problem document."""

    async def on_own_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ChowkError)
        return _of_own_error(request, error)

    async def on_http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = HTTPStatus(error.status_code).name.lower()
        detail = f"{request.method} {request.url.path}: {error.detail}"
        headers = error.headers
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods_of(app, request.url.path)):
            headers = {"allow": methods}
        return _response(request, error.status_code, code=code, detail=detail, headers=headers)

    async def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        faults = [
            Fault(field=".".join(str(part) for part in fault["loc"]), message=fault["msg"]) for fault in error.errors()
        ]
        detail = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
        return _response(request, 422, code="request_invalid", detail=detail, errors=faults)

    async def on_defect(request: Request, error: Exception) -> JSONResponse:
        log.error("request_failed", path=request.url.path, exc_info=error)
        detail = "an error of ours, which is logged; the same request may succeed later"
        return _response(request, 500, code="broken", detail=detail)

    app.openapi = partial(openapi_with_problems, app)
    app.add_exception_handler(ChowkError, on_own_error)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(Exception, on_defect)


def _methods_of(app: FastAPI, path: str) -> str:
    """Every method that a path takes, as `Allow` lists them; the framework names those of one route alone."""
    documented = app.openapi()["paths"]
    matching = [template for template in documented if compile_path(template)[0].match(path)]
    # Of `/letters/retry` and `/letters/{id}` the first is meant.
    template = min(matching, key=lambda template: template.count("{"), default=None)
    return ", ".join(sorted(method.upper() for method in documented[template])) if template else ""


def _documented(status: int) -> dict[str, Any]:  # Any: FastAPI's own type
    content = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    return {"description": HTTPStatus(status).phrase, "content": content}


def _of_own_error(request: Request, error: ChowkError) -> JSONResponse:
    headers: dict[str, str] = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        wait_s = error.retry_after_s if isinstance(error, Overloaded) else RETRY_AFTER_S
        headers["retry-after"] = str(wait_s)
    detail = error.message
    if error.status not in CLIENT_ERRORS:
        log.error("request_failed", path=request.url.path, code=error.code, error=error.message)
        # What is inside our own house is for the log.
        detail = "cannot be answered now; try again" if error.retryable else "an error of ours, which is logged"
    return _response(request, error.status, code=error.code, detail=detail, headers=headers)


def _response(
    request: Request,
    status: int,
    *,
    code: str,
    detail: str,
    errors: list[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        instance=request.url.path,
        errors=errors or [],
    )
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)
