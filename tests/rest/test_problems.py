from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Query

from core.errors import Broken, ChowkError, Conflict, NotDurable, NotFound, Overloaded, Unauthenticated
from rest.problems import install_problems, openapi_with_problems, problem_responses

ERRORS: dict[str, Exception] = {
    "not_found": NotFound("there is no such thing"),
    "conflict": Conflict("it is taken"),
    "unauthenticated": Unauthenticated("who are you"),
    "overloaded": Overloaded("too much", retry_after_s=7),
    "not_durable": NotDurable("host 10.0.0.3 refused the connection"),
    "broken": Broken("the row of 10.0.0.3 is missing"),
    "http": HTTPException(418, "short and stout", headers={"x-pot": "tea"}),
    "defect": ZeroDivisionError("at line 7 of secret.py"),
}


@pytest.fixture
async def client() -> httpx.AsyncClient:
    app = FastAPI()

    @app.get("/fail/{name}", responses=problem_responses(404, 409))
    async def fail(name: str, number: Annotated[int, Query(ge=1)] = 1) -> int:
        if name in ERRORS:
            raise ERRORS[name]
        return number

    install_problems(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://chowk")


@pytest.mark.parametrize(
    ("name", "status", "code", "detail"),
    [
        ("not_found", 404, "not_found", "there is no such thing"),
        ("conflict", 409, "conflict", "it is taken"),
        ("unauthenticated", 401, "unauthenticated", "who are you"),
        ("overloaded", 503, "overloaded", "cannot be answered now; try again"),
        ("not_durable", 503, "not_durable", "cannot be answered now; try again"),
        ("broken", 500, "broken", "an error of ours, which is logged"),
        ("defect", 500, "broken", "an error of ours, which is logged; the same request may succeed later"),
        ("http", 418, "im_a_teapot", "GET /fail/http: short and stout"),
    ],
)
async def test_an_error_is_a_problem_document_and_keeps_what_is_ours_to_itself(
    client: httpx.AsyncClient, name: str, status: int, code: str, detail: str
) -> None:
    answer = await client.get(f"/fail/{name}")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert (problem["status"], problem["code"], problem["detail"]) == (status, code, detail)
    assert (problem["type"], problem["instance"]) == ("about:blank", f"/fail/{name}")


async def test_headers_that_belong_to_an_error_are_sent(client: httpx.AsyncClient) -> None:
    assert (await client.get("/fail/overloaded")).headers["retry-after"] == "7"
    assert (await client.get("/fail/not_durable")).headers["retry-after"] == "1"
    assert (await client.get("/fail/unauthenticated")).headers["www-authenticate"] == "Bearer"
    assert (await client.get("/fail/http")).headers["x-pot"] == "tea"


async def test_each_fault_of_a_request_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fail/x", params={"number": "0"})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["query.number"]


def test_the_document_shows_problems_where_requests_may_be_invalid() -> None:
    app = FastAPI()

    @app.get("/number", responses=problem_responses(404))
    async def number(number: int) -> int:
        return number

    document = openapi_with_problems(app)
    responses = document["paths"]["/number"]["get"]["responses"]
    schemas = document["components"]["schemas"]
    for status in ("404", "422"):
        assert responses[status]["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        }
    assert {"Problem", "Fault"} <= set(schemas)
    assert "HTTPValidationError" not in schemas


def test_every_error_of_ours_has_a_status_and_a_code() -> None:
    kinds = [ChowkError, *ChowkError.__subclasses__()]
    assert all(400 <= kind.status < 600 for kind in kinds)


async def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes() -> None:
    app = FastAPI()

    @app.get("/letters/{letter_id}")
    @app.put("/letters/{letter_id}")
    async def letter(letter_id: str) -> str:
        return letter_id

    @app.post("/letters/retry")
    async def retry() -> None: ...

    install_problems(app)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        allowed = [(await client.delete(path)).headers["allow"] for path in ("/letters/7", "/letters/retry")]
        unlisted = await client.post("/openapi.json")
    assert allowed == ["GET, PUT", "POST"]
    assert "GET" in unlisted.headers["allow"]
