"""Every kind of job and who runs it. A new kind is one line here."""

from collections.abc import Mapping

from inbox.jobs import JobHandler
from worker.runtime import Runtime


def job_handlers(_runtime: Runtime) -> Mapping[str, JobHandler]:
    """The handlers by kind, each with what it needs of the runtime."""
    return {}
