"""The API keeps what its OpenAPI document promises, on a real server, whatever is asked."""

import asyncio
import os
import sys
from pathlib import Path

import httpx

from core.crypto import Sealer
from db.pools import Database
from tests.api.server import Server
from tests.api.test_conversations import key_of
from tests.api.test_runs import a_run
from tests.builders import Organisation, a_number, a_text, receive, rows
from tests.inbox.dead import a_dead_job

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
EXAMPLES_MAX = 40


def config_of(conversation_id: str, run_id: str, letter_id: str) -> str:
    """Ids that exist, so that more than 404 is met.

    A cursor that fits the pattern may still be none of ours: 400. What was acted upon once is in another state: 409.
    """
    return f"""
    headers = {{ Authorization = "${{CALLER}}" }}
    [checks.positive_data_acceptance]
    expected-statuses = ["2xx", 400, 404, 409]
    [parameters]
    "path.conversation_id" = "{conversation_id}"
    "path.run_id" = "{run_id}"
    "path.letter_id" = "{letter_id}"
    """


async def test_every_promise_of_the_document_is_kept(
    server: Server, database: Database, sealer: Sealer, organisation: Organisation, tmp_path: Path
) -> None:
    await receive(database, sealer, organisation, a_text("Hello", sender=a_number()))
    (conversation,) = await rows(database, organisation.tenant_id, "SELECT id FROM conversations")
    run_id = await a_run(database, organisation.tenant_id)
    letter_id = f"job:{await a_dead_job(database, organisation.tenant_id)}"
    caller = await key_of(database, organisation.tenant_id, scopes=("read", "write"))
    (tmp_path / "schemathesis.toml").write_text(config_of(conversation["id"], run_id, letter_id))
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS, "run", f"{server.url}/openapi.json", "--checks", "all", "--max-examples", str(EXAMPLES_MAX),
        "--seed", "1", "--no-color", "--generation-database", "none", "--exclude-path-regex", "^/agent/",
        cwd=tmp_path, env=os.environ | {"COLUMNS": "200", "CALLER": caller["authorization"]},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def test_the_document_describes_every_route_and_its_problems(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert {path for path in document["paths"] if not path.startswith("/agent/")} == {
        "/v1/conversations", "/v1/conversations/{conversation_id}", "/v1/conversations/{conversation_id}/messages",
        "/v1/conversations/{conversation_id}/legal-hold",
        "/v1/dead-letters", "/v1/dead-letters/retry", "/v1/dead-letters/discard", "/v1/dead-letters/{letter_id}",
        "/v1/dead-letters/{letter_id}/retry", "/v1/dead-letters/{letter_id}/discard",
        "/v1/dead-letters/{letter_id}/sent",
        "/v1/runs", "/v1/runs/{run_id}", "/v1/runs/{run_id}/steps", "/v1/runs/{run_id}/comparison",
        "/v1/runs/{run_id}/resume", "/v1/runs/{run_id}/cancel", "/v1/runs/{run_id}/fork", "/v1/runs/{run_id}/replay",
        "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert document["info"]["title"] == "Chowk"
    assert {"HTTPBearer", "APIKeyHeader"} <= set(document["components"]["securitySchemes"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            if path.startswith("/v1/"):
                assert {"401", "403", "422", "503"} <= set(operation["responses"])
                assert list(operation["responses"]["422"]["content"]) == ["application/problem+json"]
