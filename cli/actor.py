"""Who acts on the command line, and where the log of what they did goes."""

import getpass
import os
import sys

import structlog


def actor() -> str:
    """The person at this terminal, as rows and log lines name them: `cli:<user of this machine>`."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run as a user that has no name
        return f"cli:{os.getuid()}"


def log_to_stderr() -> None:
    """Have log lines go to standard error, so that what a command prints stays what it prints."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=_stderr,
        cache_logger_on_first_use=False,
    )


def _stderr(*_: object) -> structlog.WriteLogger:
    return structlog.WriteLogger(sys.stderr)
