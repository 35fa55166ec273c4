"""The errors of Chowk: what happened, with the value, and what to do about it.

ChowkError
├── SettingInvalid        a setting is missing or wrong; the process refuses to start
├── RequestInvalid   400  the caller's input is wrong
│   └── BodyTooLarge 413
├── Unauthenticated  401  no credentials, or unknown ones
├── Forbidden        403  known credentials that do not cover this
├── NotFound         404  no such thing inside this tenant
├── Conflict         409  the thing is not in a state that allows this
├── Overloaded       503  shed before collapse; try again
├── NotDurable       503  could not be stored; try again
├── FenceLost             another process took over this work; ours is void
├── ProviderRefused       a provider gave a definite no
├── ProviderUnclear       a provider may or may not have acted: never a failure
└── Broken                an invariant does not hold
"""

from typing import ClassVar


class ChowkError(Exception):
    """Anything that Chowk raises on purpose."""

    #: HTTP status where this error reaches a caller.
    status: ClassVar[int] = 500
    #: Whether the same call may succeed later with nothing changed.
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def code(self) -> str:
        """The stable, machine-readable name of this error, for example `not_found`."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class SettingInvalid(ChowkError):
    """A setting is missing or wrong. The message names the variable and an example of a right value."""


class RequestInvalid(ChowkError):
    """The input is not what this operation takes. The message names the field."""

    status = 400


class BodyTooLarge(RequestInvalid):
    """The body is over the limit of this channel or route."""

    status = 413


class Unauthenticated(ChowkError):
    """The request carries no credentials, or ones nobody issued."""

    status = 401


class Forbidden(ChowkError):
    """The credentials are known and do not cover this."""

    status = 403


class NotFound(ChowkError):
    """There is no such thing inside this tenant."""

    status = 404


class Conflict(ChowkError):
    """The thing is not in a state that allows this."""

    status = 409


class Overloaded(ChowkError):
    """More work is waiting than this process takes on. Wait `retry_after_s` and try again."""

    status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotDurable(ChowkError):
    """It could not be committed, so it was not accepted."""

    status = 503
    retryable = True


class FenceLost(ChowkError):
    """Another process has taken over this work since; nothing of ours may be committed."""

    retryable = True


class ProviderRefused(ChowkError):
    """A provider answered with a definite no.

    `remedy` says what helps: `retry` later, a `person` must act, or `stop` the whole account.
    """

    def __init__(self, message: str, *, remedy: str, provider_code: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.provider_code = provider_code
        self.retry_after_s = retry_after_s


class ProviderUnclear(ChowkError):
    """Bytes left for the provider and no clear answer came back: it may have acted."""


class Broken(ChowkError):
    """An invariant does not hold. The message says which; this is a defect, not bad input."""
