"""Definite refusals of a call as JSON, so that a repeated step is refused as the first one was."""

from typing import Any

from pydantic import JsonValue

from core.errors import (
    Broken,
    ChowkError,
    Conflict,
    Forbidden,
    NotFound,
    ProviderRefused,
    ProviderUnclear,
    RequestInvalid,
    Unauthenticated,
)

#: What a refusal is raised as again; one of a more special class comes back as the class here that it is.
_KINDS: tuple[type[ChowkError], ...] = (
    RequestInvalid, Unauthenticated, Forbidden, NotFound, Conflict, Broken, ChowkError,
)  # fmt: skip


def is_final(error: ChowkError) -> bool:
    """Whether a call that ended so is over: it was refused, and the same call would be refused again."""
    later = isinstance(error, ProviderRefused) and error.remedy == "retry"
    return not (later or error.retryable or isinstance(error, ProviderUnclear))


def refusal_of(error: ChowkError) -> dict[str, JsonValue]:
    """The refusal as it is stored."""
    if isinstance(error, ProviderRefused):
        return {
            "error": ProviderRefused.__name__,
            "message": error.message,
            "remedy": error.remedy,
            "provider_code": error.provider_code,
            "retry_after_s": error.retry_after_s,
        }
    kind = next(kind for kind in _KINDS if isinstance(error, kind))
    return {"error": kind.__name__, "message": error.message}


def error_of(refusal: Any) -> ChowkError:  # Any: JSON, as `refusal_of` made it
    """The error that a stored refusal is raised as."""
    if refusal["error"] == ProviderRefused.__name__:
        return ProviderRefused(
            refusal["message"], remedy=refusal["remedy"], provider_code=refusal["provider_code"],
            retry_after_s=refusal["retry_after_s"],
        )  # fmt: skip
    kind = next(kind for kind in _KINDS if kind.__name__ == refusal["error"])
    return kind(refusal["message"])
