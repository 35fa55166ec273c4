"""Runs that wait for something: each on a thread of its own, beside the conversation's turns."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from core.ids import RunId, new_id
from db.pools import Connection
from graphs.registry import graph_named
from graphs.run_claim import ClaimedRun

INSERT = """
INSERT INTO core.runs (id, tenant_id, conversation_id, parent_id, kind, graph, thread_id, state, input, waits_for,
                       default_answer, wake, trace_id)
VALUES (%(id)s, current_user, %(conversation_id)s, %(parent_id)s, %(graph)s, %(graph)s, %(id)s, 'queued', %(values)s,
        jsonb_build_object('until', clock_timestamp() + make_interval(secs => %(wait_s)s)), %(default)s, %(wake)s,
        %(trace_id)s)
"""


async def insert_waiting_run(
    connection: Connection,
    parent: ClaimedRun,
    *,
    graph: str,
    values: Mapping[str, Any],  # Any: fields of the state, as JSON
    wait_s: float,
    default: Any,  # Any: an answer that the graph accepts, as JSON
    wake: bool,
) -> RunId:
    """Start a run that will ask its question and wait for the answer, in the caller's transaction.

    Args:
        connection: the tenant's transaction.
        parent: the run that wants it; its conversation is the new run's too.
        graph: a graph of `graphs.registry`; also the kind of the run.
        values: what the graph begins with, beside identity and recipient.
        wait_s: how long it waits before `default` is taken for the answer.
        default: the answer that silence stands for.
        wake: whether its end begins a turn of the conversation.

    Raises:
        NotFound: there is no such graph.
    """
    run_id = RunId(new_id("run"))
    await connection.execute(
        INSERT,
        {
            "id": run_id,
            "conversation_id": parent.conversation_id,
            "parent_id": parent.run_id,
            "graph": graph_named(graph).name,
            "values": Jsonb(dict(values)),
            "wait_s": wait_s,
            "default": Jsonb(default),
            "wake": wake,
            "trace_id": parent.trace_id,
        },
    )
    return run_id
