"""One JSON object a line on standard error. Values are what the caller names; bodies and secrets never are."""

import logging
import sys

import structlog

from core.settings import LogSettings, load


def configure_log(process: str) -> None:
    """Set up logging for this process; `process` (for example `api`) stands on every line."""
    level = getattr(logging, load(LogSettings).level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Give one module its logger; it is called as `log.info("event_name", key=value)`."""
    return structlog.get_logger(module=name)
