"""Every commit of the product: on which journey it is passed, or that it changes nothing."""

from collections.abc import Mapping

#: Transactions that only look: killed there, a process leaves nothing behind.
LOOKS = frozenset(
    {
        "api.conversation", "api.conversations", "api.messages", "api.run", "api.run_steps", "api_key",
        "knowledge.compared", "knowledge.search", "probe.depths", "probe.version", "prompt_text", "receipts.read",
        "runs.next", "tenants", "webhook_source",
    }
)  # fmt: skip

PASSED_ON: Mapping[str, tuple[str, ...]] = {
    "conversation": (
        "accept", "inbox.claim", "inbox.split", "events.claim", "explode", "runs.claim", "runs.extend", "run.start",
        "checkpoint", "checkpoint_writes", "run.commit", "outbox.claim", "outbox.begin", "outbox.outcome",
    ),
    "twenty_steps": ("receipts.open", "receipts.store"),
    "troubles": (
        "inbox.split_failed", "explode_failed", "run.record", "runs.release", "run.end", "jobs.claim", "jobs.extend",
        "jobs.retry", "jobs.bury", "jobs.finish", "jobs.release", "sweep.close", "sweep.erase",
    ),
    "operators": (
        "knowledge.published", "run.seed", "dead_letters.act", "dead_letters.retry_body", "dead_letters.discard_body",
        "dead_letters.retry_event", "dead_letters.discard_event",
    ),
}  # fmt: skip

POINTS = [
    (journey, f"{commit}.{side}")
    for journey, commits in PASSED_ON.items()
    for commit in commits
    for side in ("before_commit", "after_commit")
]
