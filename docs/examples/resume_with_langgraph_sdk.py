"""Answer a question that waits for a person, with the official `langgraph_sdk` client and nothing of Chowk's.

It finds a run that waits, reads how it came there, forks it with a note for whoever answers, answers the fork, ends the
run that was forked, and shows the reply in the conversation. Beside a running `chowk dev`:

    .venv/bin/python docs/examples/resume_with_langgraph_sdk.py "We are closed on Diwali."

A run waits once somebody has asked on the phone page what the knowledge does not answer.
"""
# ruff: noqa: INP001, T201  # a script of its own, which talks to whoever runs it

import argparse
import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

NOTE = "Be brief."


async def main(url: str, key: str, reply: str) -> None:
    """Do all of it."""
    async with get_client(url=f"{url}/agent", headers={"authorization": f"Bearer {key}"}) as client:
        found = await client.threads.search(status="interrupted", metadata={"kind": "hand_off"}, limit=1)
        if not found:
            raise SystemExit(
                "No run waits for a person. Ask something that the knowledge does not answer, and try again."
            )
        thread = found[0]
        print(f"{thread['thread_id']} waits: {question_of(thread)}")
        checkpoint_id = await read_history(client, thread["thread_id"])
        run_id = await fork(client, thread, checkpoint_id)
        await answer(client, run_id, reply)
        (forked,) = await client.runs.list(thread["thread_id"], limit=1)
        await client.runs.cancel(thread["thread_id"], forked["run_id"], wait=True)
        print(f"{forked['run_id']} was forked and is not answered any more")
    message = await message_of(url, key, thread["metadata"]["conversation_id"], run_id)
    print(f"{message['status']}: {message['text']}")


async def read_history(client: LangGraphClient, thread_id: str) -> str:
    """Print where the thread stood, the latest first; gives the checkpoint at which it stands."""
    history = await client.threads.get_history(thread_id)
    for state in history:
        comes_next = ", ".join(state["next"]) or "nothing"
        print(f"  {state['created_at']} {state['checkpoint']['checkpoint_id']}: {comes_next} is next")
    return history[0]["checkpoint"]["checkpoint_id"]


async def fork(client: LangGraphClient, thread: Mapping[str, Any], checkpoint_id: str) -> str:
    """Begin anew at this checkpoint with a note in the question; gives the new run, which has a thread of its own."""
    hand_off = thread["values"]["hand_off"]
    edited = {"hand_off": hand_off | {"summary": f"{NOTE}\n{hand_off['summary']}"}}
    forked = await client.threads.update_state(thread["thread_id"], edited, checkpoint_id=checkpoint_id)
    (run,) = await client.runs.list(forked["checkpoint"]["thread_id"])
    print(f"{run['run_id']} is a fork of {run['metadata']['parent_id']}")
    return run["run_id"]


async def answer(client: LangGraphClient, run_id: str, reply: str) -> None:
    """Wait until the run asks, then answer it and wait until it has ended. A fork's thread has the id of its run."""
    asked = await client.runs.join(run_id, run_id)
    (interrupt,) = asked["__interrupt__"]
    print(f"{run_id} asks: {interrupt['value']['question']['summary']!r}")
    words = {"action": "reply", "text": reply}
    done = await client.runs.wait(run_id, "hand_off", command={"resume": {interrupt["id"]: words}})
    print(f"{run_id} wants: {', '.join(effect['kind'] for effect in done['effects'])}")


async def message_of(url: str, key: str, conversation_id: str, run_id: str) -> dict[str, Any]:
    """What the person reads of this run."""
    headers, query = {"authorization": f"Bearer {key}"}, {"limit": "200"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        while True:
            answered = await client.get(f"/v1/conversations/{conversation_id}/messages", params=query)
            page = answered.raise_for_status().json()
            found = next((message for message in page["items"] if message["run_id"] == run_id), None)
            if found is not None:
                return found
            if page["next_cursor"] is None:
                raise SystemExit(f"{run_id} says nothing in {conversation_id}")
            query["cursor"] = page["next_cursor"]


def question_of(thread: Mapping[str, Any]) -> str:
    """What is asked, in one line."""
    ((interrupt,),) = thread["interrupts"].values()
    return repr(interrupt["value"]["question"]["summary"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Answer a question that waits for a person.")
    parser.add_argument("reply", help="the words that are sent")
    parser.add_argument("--home", type=Path, default=Path(".chowk"), help="the home of `chowk dev`")
    given = parser.parse_args()
    demo = json.loads((given.home / "demo.json").read_text())
    asyncio.run(main(demo["base_url"], demo["api_key"], given.reply))
