"""The record of a run's steps: who did what, when, at what cost, and what it changed. Append-only.

Built from what LangGraph streams; the saver stores each step with the checkpoint it led to. Timeline and audit read
these rows and never the checkpoints.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, message_to_dict
from psycopg.types.json import Jsonb

from checkpoints.saver import Journal, StepRow
from core.clock import Clock
from db.pools import Connection
from graphs.run_claim import ClaimedRun
from models.prices import Price
from tools.keys import node_path

ERROR_CHARACTERS_MAX = 2_000

#: What no checkpoint took: a step that failed, or one whose run ended without a further checkpoint.
INSERT = """
INSERT INTO core.run_steps (run_id, position, tenant_id, node, namespace, author, attempt, started_at, duration_ms,
                            tokens_in, tokens_out, cost_usd_micros, prompt_ref, tool_calls, memory_hits, state_diff,
                            error)
VALUES (%(run_id)s, %(position)s, current_user, %(node)s, %(namespace)s, %(author)s, %(attempt)s, %(started_at)s,
        %(duration_ms)s, %(tokens_in)s, %(tokens_out)s, %(cost_usd_micros)s, %(prompt_ref)s, %(tool_calls)s,
        %(memory_hits)s, %(state_diff)s, %(error)s)
ON CONFLICT (run_id, position) DO NOTHING
"""

#: A step's place: the path of nodes above it, and its node.
_Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the steps of this attempt used."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd_micros: int = 0

    def plus(self, step: StepRow) -> "Usage":
        """The same with one more step."""
        return Usage(
            self.tokens_in + step["tokens_in"],
            self.tokens_out + step["tokens_out"],
            self.cost_usd_micros + step["cost_usd_micros"],
        )


@dataclass(slots=True)
class StepRecorder:
    """Turns what a graph streams into rows of the record, which it leaves in the journal for the saver."""

    clock: Clock
    #: Which prompt each agent speaks with.
    prompt_refs: Mapping[str, str]
    price: Price
    attempt: int
    next_position: int
    journal: Journal = field(default_factory=Journal)
    used: Usage = field(default_factory=Usage)
    _began: defaultdict[_Place, deque[datetime]] = field(default_factory=lambda: defaultdict(deque))
    #: Agents that recorded steps of their own: what they used stands there.
    _nested: set[str] = field(default_factory=set[str])

    def task(self, namespace: tuple[str, ...], task: Mapping[str, Any]) -> None:
        """Take one chunk of the `tasks` stream: a node that begins, or how one ended."""
        path = node_path("|".join(namespace))
        if "input" in task:
            self._began[path, task["name"]].append(self.clock())
        elif task.get("error"):
            self._record(path, task["name"], {}, error=str(task["error"])[:ERROR_CHARACTERS_MAX])

    def update(self, namespace: tuple[str, ...], update: Mapping[str, Any]) -> None:
        """Take one chunk of the `updates` stream: node name to what it returned."""
        path = node_path("|".join(namespace))
        for node, diff in update.items():
            if not node.startswith("__"):
                self._record(path, node, diff)

    def _record(self, path: str, node: str, diff: Any, *, error: str | None = None) -> None:  # Any: a node's own
        now, begun = self.clock(), self._began[path, node]
        step = self._step(path, node, diff, began=begun.popleft() if begun else now, ended=now)
        step["error"] = error
        if path:
            self._nested.add(path.partition("/")[0])
        self.used = self.used.plus(step)
        self.journal.steps.append(step)
        self.next_position += 1

    def _step(self, path: str, node: str, diff: Any, *, began: datetime, ended: datetime) -> StepRow:
        agent = path.partition("/")[0] or node
        messages = list(_messages(diff))
        entry = _trail_entry(diff)
        report = {} if node in self._nested else entry.get("report", {})
        tokens_in = sum(_usage(message, "input_tokens") for message in messages) + report.get("tokens_in", 0)
        tokens_out = sum(_usage(message, "output_tokens") for message in messages) + report.get("tokens_out", 0)
        return {
            "position": self.next_position,
            "node": node,
            "namespace": path,
            "author": entry.get("author") or f"agent:{agent}",
            "attempt": self.attempt,
            "started_at": began.isoformat(),
            "duration_ms": (ended - began).total_seconds() * 1000,
            "tokens_in": tokens_in,
            "tokens_out": tokens_out,
            "cost_usd_micros": self.price.cost_usd_micros(tokens_in=tokens_in, tokens_out=tokens_out),
            "prompt_ref": _prompt_ref(self.prompt_refs, agent),
            "tool_calls": [
                {"name": call["name"], "args": call["args"]} for message in messages for call in message.tool_calls
            ],
            "memory_hits": _memory_hits(diff),
            "state_diff": plain(diff or {}),
        }


async def insert_steps(connection: Connection, run: ClaimedRun, journal: Journal) -> None:
    """Append what no checkpoint took to the record, in the caller's transaction."""
    documents = ("tool_calls", "memory_hits", "state_diff")
    rows = [step | {name: Jsonb(step[name]) for name in documents} | {"run_id": run.run_id} for step in journal.steps]
    if rows:
        async with connection.cursor() as cursor:
            await cursor.executemany(INSERT, rows)


def plain(value: Any) -> Any:  # Any: JSON in, JSON out, messages on the way
    """A part of the state as plain JSON."""
    if isinstance(value, BaseMessage):
        return message_to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return repr(value)


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
