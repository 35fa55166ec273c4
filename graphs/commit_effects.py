"""What nodes wanted to have done, done: each effect becomes rows of the commit that ends the run's work."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from channels.messages import OUTBOUND, ReadAndTyping
from core.errors import Broken
from db.pools import Connection
from graphs.effects import effect_key
from graphs.hand_over import hand_back, hand_over
from graphs.run_claim import ClaimedRun
from graphs.waiting import insert_waiting_run
from outbox.effects import queue_message


async def commit_effects(
    connection: Connection, run: ClaimedRun, account_id: str, effects: Sequence[Mapping[str, Any]]
) -> None:
    """Queue what leaves, and write what changes here. Any: JSON drafts, as `graphs.effects` describes them.

    Raises:
        Broken: a node returned what is no effect.
    """
    places: Counter[str] = Counter()
    for effect in effects:
        slot = effect["slot"]
        key = effect_key(run.tenant_id, run.run_id, path="emit", slot=slot, index=places[slot])
        places[slot] += 1
        match effect["kind"]:
            case "send":
                await _send(connection, run, account_id, key, effect)
            case "hand_off":
                await hand_over(connection, run, reason=effect["reason"], summary=effect["summary"])
            case "hand_back":
                await hand_back(connection, run.conversation_id)
            case "start_run":
                await insert_waiting_run(
                    connection, run, graph=effect["graph"], values=effect["input"], wait_s=effect["wait_s"],
                    default=effect["default"], wake=effect["wake"],
                )  # fmt: skip
            case unknown:
                raise Broken(f"run {run.run_id} returned an effect of unknown kind {unknown!r}")


async def _send(connection: Connection, run: ClaimedRun, account_id: str, key: str, effect: Mapping[str, Any]) -> None:
    message = OUTBOUND.validate_python(effect["message"])
    if isinstance(message, ReadAndTyping):
        raise Broken(f"run {run.run_id} returned a sign of reading as a message to send")
    await queue_message(
        connection,
        key=key,
        run_id=run.run_id,
        conversation_id=run.conversation_id,
        account_id=account_id,
        message=message,
        author=effect.get("author", "agent"),
        delivery=effect["delivery"],
        citations=effect.get("citations", ()),
    )
