"""Letting a thread go on, or begin anew: what the protocol calls creating a run. Accepted or refused in one commit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from psycopg.rows import DictRow
from pydantic import BaseModel, JsonValue

from api.agent.run_request import RunRequest
from api.agent.shapes import assistant_id_of
from api.agent.thread_rows import find_thread, latest_checkpoint, run_at
from api.state import GraphsLoaded, ProcessDatabase, Ring
from core.errors import Conflict, NotFound, RequestInvalid
from core.ids import RunId
from db.pools import Connection
from db.transactions import tenant_tx
from rest.api_keys import Writer
from rest.idempotency import Acting, answer_once

#: What LangGraph itself takes for a map of answers is one whose keys all look like this.
INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")

LAST_POSITION = "SELECT coalesce(max(position), -1) AS position FROM core.run_steps WHERE run_id = %s"


class Begun(BaseModel):
    """A run that goes on, or a new one."""

    run_id: str
    #: Its own where it is new.
    thread_id: str
    #: The position of its last step before this; -1 for none.
    after: int

    @property
    def headers(self) -> dict[str, str]:
        """Where the client finds it. It puts the path before these by itself."""
        return {"content-location": f"/threads/{self.thread_id}/runs/{self.run_id}"}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what asking takes. The key is looked at first."""

    key: Writer
    database: ProcessDatabase
    acting: Acting
    ring: Ring
    graphs: GraphsLoaded

    async def begin(self, thread_id: str, asked: RunRequest) -> Begun:
        """Do what is asked of a thread, once for each idempotency key, and wake whoever carries it out.

        Raises:
            NotFound: there is no such thread, assistant or checkpoint.
            RequestInvalid: the answer is not what its question takes, or parts of the request exclude each other.
            Conflict: nothing on the thread is in a state that allows it.
        """

        async def act() -> Begun:
            thread = await find_thread(connection, thread_id)
            _check_assistant(thread, asked.assistant_id)
            run_id = await _begin(connection, thread, asked, by=self.key.id)
            return await _begun(connection, thread, run_id)

        async with tenant_tx(self.database, self.key.tenant_id, commit="agent.create_run") as connection:
            answer = await answer_once(connection, self.acting, act)
        self.ring()
        return Begun.model_validate_json(bytes(answer.body))


async def fork_here(
    connection: Connection,
    thread: DictRow,
    checkpoint_id: str,
    *,
    values: Mapping[str, JsonValue] | None = None,
    dry_run: bool = False,
    by: str,
) -> RunId:
    """Begin a new run at a checkpoint of this thread, with these fields of the state edited.

    Raises:
        NotFound: the thread has no such checkpoint.
        RequestInvalid: a field may not be edited, or has the wrong shape.
        Conflict: its run began under another version of its graph, or had ended there.
    """
    from graphs.fork_commands import fork

    run_id = await run_at(connection, thread["thread_id"], checkpoint_id)
    return await fork(connection, run_id, checkpoint_id=checkpoint_id, values=values, dry_run=dry_run, by=by)


def check_graph(assistant_id: str) -> str:
    """The name of the graph that is asked for by its name or by its assistant's id.

    Raises:
        NotFound: there is no such graph.
    """
    from graphs.registry import GRAPHS

    found = next((name for name in GRAPHS if assistant_id in (name, assistant_id_of(name))), None)
    if found is None:
        raise NotFound(f"there is no assistant {assistant_id!r}; assistants.search lists them")
    return found


async def _begin(connection: Connection, thread: DictRow, asked: RunRequest, *, by: str) -> RunId:
    from graphs.commands import resume
    from graphs.fork_commands import replay

    run_id = RunId(thread["run_id"])
    checkpoint_id = asked.checkpoint_of(thread["thread_id"])
    match _meant(asked, checkpoint_id):
        case "answer":
            await _check_stands_at(connection, thread, checkpoint_id)
            for interrupt_id, answer in _answers(asked):
                await resume(connection, run_id, answer=answer, interrupt_id=interrupt_id, by=by)
        case "fork":
            assert checkpoint_id is not None
            dry_run = asked.context is not None and asked.context.dry_run
            run_id = await fork_here(connection, thread, checkpoint_id, dry_run=dry_run, by=by)
        case "replay":
            assert asked.context is not None
            run_id = await replay(connection, run_id, prompts=asked.context.prompts, by=by)
        case "go_on":
            await resume(connection, run_id, by=by)
    return run_id


def _meant(asked: RunRequest, checkpoint_id: str | None) -> Literal["answer", "fork", "replay", "go_on"]:
    dry_run = asked.context is not None and asked.context.dry_run
    answers = asked.command is not None and asked.command.resume is not None
    if answers and dry_run:
        raise RequestInvalid("context.dry_run: an answer acts, and a dry run ends where it would wait; leave one out")
    replays = dry_run and not answers and checkpoint_id is None
    if asked.context is not None and asked.context.prompts == "current" and not replays:
        raise RequestInvalid("context.prompts: the words of today are for a replay: dry_run, and no checkpoint")
    if answers:
        return "answer"
    if checkpoint_id is not None:
        return "fork"
    return "replay" if replays else "go_on"


async def _check_stands_at(connection: Connection, thread: DictRow, checkpoint_id: str | None) -> None:
    """An answer may name the checkpoint of its question, which is the one at which the thread stands."""
    if checkpoint_id in (None, await latest_checkpoint(connection, thread["thread_id"])):
        return
    raise Conflict(
        f"thread {thread['thread_id']} does not stand at checkpoint {checkpoint_id!r} any more, or never did; leave it"
        " out to answer what is asked now, or fork the thread there first"
    )


def _answers(asked: RunRequest) -> list[tuple[str | None, JsonValue]]:
    assert asked.command is not None
    given = asked.command.resume
    if isinstance(given, dict) and given and all(INTERRUPT_ID.fullmatch(key) for key in given):
        return list(given.items())
    return [(None, given)]


def _check_assistant(thread: DictRow, assistant_id: str) -> None:
    graph = check_graph(assistant_id)
    if graph != thread["graph"]:
        raise Conflict(
            f"thread {thread['thread_id']} is one of the graph {thread['graph']}; {graph} does not run on it"
        )


async def _begun(connection: Connection, thread: DictRow, run_id: RunId) -> Begun:
    row = await (await connection.execute(LAST_POSITION, (run_id,))).fetchone()
    assert row is not None
    return Begun(
        run_id=run_id,
        thread_id=thread["thread_id"] if run_id == thread["run_id"] else run_id,
        after=row["position"],
    )
