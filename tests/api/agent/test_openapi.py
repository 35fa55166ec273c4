"""The agent protocol keeps what its OpenAPI document promises, on a real server, whatever is asked."""

import asyncio
import os
from pathlib import Path

import httpx

from tests.api.agent.conftest import Tool
from tests.api.server import Server
from tests.api.test_openapi import SCHEMATHESIS

EXAMPLES_MAX = 10


def config_of(thread_id: str, run_id: str) -> str:
    """Ids that exist, so that more than 404 is met; what is refused by its meaning is 400, by its state 409.

    U+0000 is JSON and cannot be stored, for which a schema has no word.
    """
    return f"""
    headers = {{ Authorization = "${{CALLER}}" }}
    [generation]
    allow-x00 = false
    [checks.positive_data_acceptance]
    expected-statuses = ["2xx", 400, 404, 409]
    [parameters]
    "path.thread_id" = "{thread_id}"
    "path.run_id" = "{run_id}"
    "path.assistant_id" = "conversation"
    "body.assistant_id" = "conversation"
    """


async def test_every_promise_of_the_document_is_kept(tool: Tool, tmp_path: Path) -> None:
    turn = await tool.scene.answered("office timings")
    (tmp_path / "schemathesis.toml").write_text(config_of(turn.thread_id, turn.run_id))
    async with tool.working():
        process = await asyncio.create_subprocess_exec(
            SCHEMATHESIS, "run", f"{tool.server.url}/openapi.json", "--include-path-regex", "^/agent/",
            "--checks", "all", "--max-examples", str(EXAMPLES_MAX), "--seed", "1", "--no-color",
            "--generation-database", "none",
            cwd=tmp_path, env=os.environ | {"COLUMNS": "200", "CALLER": tool.headers["authorization"]},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def test_the_document_describes_every_route_and_its_problems(server: Server) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    described = {
        path.removeprefix("/agent"): operations
        for path, operations in document["paths"].items()
        if path.startswith("/agent/")
    }
    thread, run = "/threads/{thread_id}", "/threads/{thread_id}/runs/{run_id}"
    assert set(described) == {
        "/ok", "/info", "/assistants/search", "/assistants/count", "/assistants/{assistant_id}",
        "/assistants/{assistant_id}/versions", "/assistants/{assistant_id}/graph", "/assistants/{assistant_id}/schemas",
        "/assistants/{assistant_id}/subgraphs", "/assistants/{assistant_id}/subgraphs/{namespace}",
        "/threads/search", "/threads/count", thread, f"{thread}/copy", f"{thread}/state", f"{thread}/state/checkpoint",
        f"{thread}/state/{{checkpoint_id}}", f"{thread}/history", f"{thread}/runs", f"{thread}/runs/wait",
        f"{thread}/runs/stream", run, f"{run}/join", f"{run}/stream", f"{run}/cancel",
    }  # fmt: skip
    for path, operations in described.items():
        for operation in operations.values():
            assert operation["tags"] == ["agent protocol"]
            assert operation["summary"]
            if path not in ("/ok", "/info"):
                assert {"401", "403", "422", "503"} <= set(operation["responses"])
