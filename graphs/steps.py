"""The record of a run's steps: who did what, when, at what cost, and what it changed. Append-only.

Built from what LangGraph streams; timeline and audit read these rows and never the checkpoints.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, message_to_dict
from psycopg.types.json import Jsonb

from core.clock import Clock
from db.pools import Connection
from graphs.effects import node_path
from graphs.turn_claim import ClaimedTurn

INSERT = """
INSERT INTO core.run_steps (run_id, position, tenant_id, node, namespace, author, attempt, started_at, duration_ms,
                            tokens_in, tokens_out, prompt_ref, tool_calls, memory_hits, state_diff, error)
VALUES (%(run_id)s, %(position)s, current_user, %(node)s, %(namespace)s, %(author)s, %(attempt)s, %(started_at)s,
        %(duration_ms)s, %(tokens_in)s, %(tokens_out)s, %(prompt_ref)s, %(tool_calls)s, %(memory_hits)s,
        %(state_diff)s, %(error)s)
ON CONFLICT (run_id, position) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One node's work."""

    position: int
    node: str
    #: Where in nested graphs the node stands, without ids: `reply`; "" at the top.
    namespace: str
    author: str
    started_at: datetime
    duration_ms: float
    state_diff: Mapping[str, Any]  # Any: JSON
    prompt_ref: str | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    tool_calls: Sequence[Mapping[str, Any]] = ()  # Any: JSON
    memory_hits: Sequence[Mapping[str, Any]] = ()  # Any: JSON


@dataclass(slots=True)
class StepRecorder:
    """Turns the updates that a graph streams into steps. `prompt_refs` says which prompt each agent speaks with."""

    clock: Clock
    prompt_refs: Mapping[str, str]
    next_position: int
    steps: list[Step] = field(default_factory=list)
    _began: datetime | None = None

    def start(self) -> None:
        """Begin the first step now."""
        self._began = self.clock()

    def record(self, namespace: tuple[str, ...], update: Mapping[str, Any]) -> None:
        """Take one chunk of the `updates` stream: node name to what it returned."""
        now = self.clock()
        began = self._began or now
        path = node_path("|".join(namespace))
        for node, diff in update.items():
            if not node.startswith("__"):
                self.steps.append(self._step(path, node, diff, began, (now - began).total_seconds() * 1000))
                self.next_position += 1
        self._began = now

    def _step(self, path: str, node: str, diff: Any, began: datetime, duration_ms: float) -> Step:
        agent = path.partition("/")[0] or node
        messages = list(_messages(diff))
        entry = _trail_entry(diff)
        # What a nested agent used stands on its own steps already.
        report = {} if any(step.namespace == node for step in self.steps) else entry.get("report", {})
        return Step(
            position=self.next_position,
            node=node,
            namespace=path,
            author=entry.get("author") or f"agent:{agent}",
            started_at=began,
            duration_ms=duration_ms,
            state_diff=_plain(diff or {}),
            prompt_ref=_prompt_ref(self.prompt_refs, agent),
            tokens_in=sum(_usage(message, "input_tokens") for message in messages) + report.get("tokens_in", 0),
            tokens_out=sum(_usage(message, "output_tokens") for message in messages) + report.get("tokens_out", 0),
            tool_calls=[
                {"name": call["name"], "args": call["args"]} for message in messages for call in message.tool_calls
            ],
            memory_hits=_memory_hits(diff),
        )


async def insert_steps(connection: Connection, turn: ClaimedTurn, steps: Sequence[Step]) -> None:
    """Append steps to the record, in the caller's transaction."""
    if not steps:
        return
    async with connection.cursor() as cursor:
        await cursor.executemany(INSERT, [_row(turn, step) for step in steps])


def _row(turn: ClaimedTurn, step: Step) -> dict[str, Any]:  # Any: the values of one row
    return {
        "run_id": turn.run_id,
        "position": step.position,
        "node": step.node,
        "namespace": step.namespace,
        "author": step.author,
        "attempt": turn.attempts,
        "started_at": step.started_at,
        "duration_ms": step.duration_ms,
        "tokens_in": step.tokens_in,
        "tokens_out": step.tokens_out,
        "prompt_ref": step.prompt_ref,
        "tool_calls": Jsonb(list(step.tool_calls)),
        "memory_hits": Jsonb(list(step.memory_hits)),
        "state_diff": Jsonb(dict(step.state_diff)),
        "error": None,
    }


def _prompt_ref(prompt_refs: Mapping[str, str], agent: str) -> str | None:
    return next((f"{prompt}@{ref}" for prompt, ref in prompt_refs.items() if prompt.startswith(f"{agent}/")), None)


def _messages(diff: Any) -> Iterator[AIMessage]:  # Any: whatever a node returned
    if isinstance(diff, Mapping):
        for value in diff.values():
            if isinstance(value, list):
                yield from (entry for entry in value if isinstance(entry, AIMessage))


def _trail_entry(diff: Any) -> Mapping[str, Any]:  # Any: whatever a node returned
    """What the node itself says of its work in the trail."""
    trail = diff.get("trail") if isinstance(diff, Mapping) else None
    return trail[-1] if trail else {}


def _usage(message: AIMessage, key: str) -> int:
    return int((message.usage_metadata or {}).get(key, 0))


def _memory_hits(diff: Any) -> list[dict[str, Any]]:  # Any: whatever a node returned
    recalled = diff.get("recalled") if isinstance(diff, Mapping) else None
    passages = recalled.get("passages", []) if isinstance(recalled, Mapping) else []
    keys = ("chunk_id", "article_id", "score", "similarity", "vector_similarity")
    return [{key: passage[key] for key in keys if key in passage} for passage in passages]


def _plain(value: Any) -> Any:  # Any: JSON in, JSON out, messages on the way
    if isinstance(value, BaseMessage):
        return message_to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)
