"""Failures on demand: the next calls of the Graph API go wrong in the way that was asked for."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from core.errors import Overloaded

FAULTS_MAX = 1000

FaultKind: TypeAlias = Literal[
    "error", "http_500", "reset", "timeout", "timeout_after_accept", "delay", "status_failed"
]
Operation: TypeAlias = Literal["message", "read", "any"]


class Fault(BaseModel):
    """What happens to the next `next` calls.

    error: refused with `code` and `http_status`; with `retry_after` (seconds) in the header of that name.
    http_500: a bare 500 with no Graph body. reset: the connection breaks off inside the answer.
    timeout: no answer ever. timeout_after_accept: the message is taken and its statuses come, but no answer ever.
    delay: taken at once, answered `ms` later, so that statuses come before the answer.
    status_failed: taken, then a `failed` status with `code` instead of `sent`.
    `accept` says for http_500 and reset whether the message was taken all the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    next: int = Field(1, ge=1, le=1_000_000)
    operation: Operation = "message"
    #: Only calls of this number; any number where None.
    phone_number_id: str | None = None
    code: int = 131000
    http_status: int = Field(400, ge=400, le=599)
    retry_after: float | None = Field(None, ge=0)
    details: str | None = None
    ms: float = Field(1000, ge=0, le=300_000)
    accept: bool = False

    @property
    def accepts(self) -> bool:
        """Whether the message is taken although the caller does not hear of it."""
        return self.accept or self.kind in ("timeout_after_accept", "delay", "status_failed")


class Faults:
    """The faults that were asked for, in their order."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Ask for one more.

        Raises:
            Overloaded: too many are waiting.
        """
        if len(self._waiting) >= FAULTS_MAX:
            raise Overloaded(f"{FAULTS_MAX} faults are waiting already; DELETE /sandbox/faults clears them")
        self._waiting.append((fault, fault.next))

    def take(self, phone_number_id: str, operation: Literal["message", "read"]) -> Fault | None:
        """The fault of this call, used up by it; None where the call goes well."""
        for index, (fault, left) in enumerate(self._waiting):
            if fault.operation not in (operation, "any"):
                continue
            if fault.phone_number_id not in (None, phone_number_id):
                continue
            if left == 1:
                del self._waiting[index]
            else:
                self._waiting[index] = (fault, left - 1)
            return fault
        return None

    def clear(self) -> int:
        """Forget all of them; how many calls they would still have hit."""
        left = sum(count for _, count in self._waiting)
        self._waiting.clear()
        return left

    def listed(self) -> list[dict[str, object]]:
        """What is waiting, with the calls left to each."""
        return [{**fault.model_dump(), "left": left} for fault, left in self._waiting]
