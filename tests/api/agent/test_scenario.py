"""The documented script, as somebody runs it who has the official client alone."""

import asyncio
import json
import sys
from pathlib import Path

from tests.api.agent.conftest import Tool

SCRIPT = Path(__file__).parents[3] / "docs/examples/resume_with_langgraph_sdk.py"
WORDS = "Forty-two, says our colleague."


async def told_by_the_script(tool: Tool, home: Path) -> tuple[int | None, list[str]]:
    key = tool.headers["authorization"].removeprefix("Bearer ")
    (home / "demo.json").write_text(json.dumps({"base_url": tool.server.url, "api_key": key}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", SCRIPT, WORDS, "--home", home,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode().splitlines()


async def test_a_run_that_waits_is_found_read_forked_and_answered_and_the_reply_is_queued(
    tool: Tool, tmp_path: Path
) -> None:
    _, waiting = await tool.scene.handed_off()
    async with tool.working():
        returned, said = await told_by_the_script(tool, tmp_path)
    assert returned == 0, said
    (fork,) = await tool.scene.rows("SELECT * FROM core.runs WHERE kind = 'fork'")
    assert said[0].startswith(f"{waiting.run_id} waits: ")
    assert "What is the meaning of life?" in said[0]
    assert [line.rsplit(": ", 1)[1] for line in said[1:3]] == ["wait is next", "__start__ is next"]
    assert said[3] == f"{fork['id']} is a fork of {waiting.run_id}"
    assert said[4].startswith(f"{fork['id']} asks: 'Be brief.\\n")
    assert said[5:] == [
        f"{fork['id']} wants: send, hand_back",
        f"{waiting.run_id} was forked and is not answered any more",
        f"queued: {WORDS}",
    ]
    assert (fork["state"], fork["outcome"]) == ("succeeded", "answered")
    assert (await tool.scene.run(waiting.run_id))["state"] == "cancelled"
    (queued,) = await tool.scene.rows("SELECT state FROM core.effects WHERE run_id = %s AND kind = 'send'", fork["id"])
    assert queued["state"] == "queued"
    commands = await tool.scene.rows("SELECT kind, state, requested_by FROM core.run_commands ORDER BY created_at")
    assert [(command["kind"], command["state"]) for command in commands] == [
        ("fork", "done"), ("resume", "done"), ("cancel", "done")
    ]  # fmt: skip
    assert {command["requested_by"][:3] for command in commands} == {"ak_"}


async def test_the_script_says_so_where_nobody_waits(tool: Tool, tmp_path: Path) -> None:
    await tool.scene.answered("office timings")
    returned, said = await told_by_the_script(tool, tmp_path)
    assert returned == 1
    assert said[0].startswith("No run waits for a person.")
