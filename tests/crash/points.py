"""Every commit of the product: on which journey it is passed, or that it changes nothing."""

from collections.abc import Mapping

#: Transactions that only look: killed there, a process leaves nothing behind.
LOOKS = frozenset(
    {
        "agent.created_run", "agent.history", "agent.look", "agent.run", "agent.runs", "agent.state", "agent.thread",
        "agent.thread_count", "agent.threads", "api.conversation", "api.conversations", "api.legal_hold",
        "api.messages", "api.run", "api.run_comparison", "api.run_steps", "api.runs", "api_key", "cli.run_compare",
        "cli.run_show", "cli.run_wait", "cli.runs", "dead_letters.look", "dead_letters.look_unrouted",
        "dead_letters.tenant_of", "dead_letters.tenants", "doctor.account", "doctor.secrets", "inbox.orphans",
        "knowledge.compared", "knowledge.search", "probe.depths", "probe.version", "prompt_text", "receipts.read",
        "runs.look", "runs.newest", "runs.next", "runs.tenant_of", "tenants", "tenants.versions", "unrouted.read",
        "webhook_source",
    }
)  # fmt: skip

PASSED_ON: Mapping[str, tuple[str, ...]] = {
    "conversation": (
        "accept", "inbox.claim", "inbox.split", "events.claim", "explode", "runs.claim", "runs.extend", "run.start",
        "checkpoint", "checkpoint_writes", "run.commit", "outbox.claim", "outbox.begin", "outbox.outcome",
        "api.run_command",
    ),
    "twenty_steps": ("receipts.open", "receipts.store"),
    "troubles": (
        "inbox.split_failed", "explode_failed", "run.record", "runs.release", "run.end", "jobs.claim", "jobs.extend",
        "jobs.retry", "jobs.bury", "jobs.finish", "jobs.release", "sweep.close", "sweep.erase",
    ),
    "operators": (
        "knowledge.published", "cli.run_command", "run.seed", "api.dead_letter", "dead_letters.act",
        "dead_letters.retry_body", "dead_letters.discard_body",
        "dead_letters.retry_event", "dead_letters.discard_event",
    ),
    "housekeeping": (
        "prompts.record", "cli.api_key", "api.legal_hold_set", "api.legal_hold_release", "cli.legal_hold",
        "checkpoints.schedule_daily", "answers.forget", "jobs.forget", "checkpoints.prune", "checkpoints.expire",
        "unrouted.route",
    ),
    "tools": ("agent.copy_thread", "agent.update_state", "agent.create_run", "agent.cancel_run"),
}  # fmt: skip

#: What an administrator's command commits is killed at where it is tested.
KILLED_IN: Mapping[str, str] = {
    "migrate.core": "tests/db/test_migrate.py",
    "migrate.tenant": "tests/db/test_migrate.py",
    "provision.tenant": "tests/db/test_provision.py",
}

POINTS = [
    (journey, f"{commit}.{side}")
    for journey, commits in PASSED_ON.items()
    for commit in commits
    for side in ("before_commit", "after_commit")
]
