import json
import subprocess
import sys

import pytest

from db.pools import Database
from tests.api.conftest import RunningApi
from tests.api.test_conversations import key_of
from tests.builders import Organisation

#: What an API process must not load: each takes seconds and tens of megabytes, and none is needed to answer.
HEAVY = ("langgraph", "langchain", "langchain_core", "langchain_google_genai", "google.genai", "numpy", "alembic")


def test_an_api_process_does_not_import_what_runs_agents() -> None:
    script = f"import api.app, sys, json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v2/conversations", 404, "not_found"),
        ("POST", "/v1/conversations", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/docs", 404, "not_found"),
    ],
)
async def test_every_error_is_a_problem_document(
    api: RunningApi, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["instance"]) == (status, code, path)


async def test_a_defect_is_a_problem_document_without_a_trace(
    api: RunningApi, database: Database, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await key_of(database, organisation.tenant_id)
    monkeypatch.setattr("api.conversations.LIST", "SELECT 'a secret of the schema' FROM no_such_table")
    answer = await api.client.get("/v1/conversations", headers=caller)
    assert (answer.status_code, answer.json()["code"]) == (500, "broken")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
