"""What is going to happen: plain values on a virtual timeline of milliseconds, from 0.

Events are what a provider tells (a message, an edit, an echo); bodies put events together as one POST carries them;
posts say when a body is posted, perhaps several times. Numbers are places in the schedule's own tuples.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

Organisation: TypeAlias = Literal["asha", "nagar"]
#: What one conversation is about, which decides what its end must be.
Story: TypeAlias = Literal[
    "question",  # one question that the articles answer
    "chat",  # several of them, with pauses
    "burst",  # several of them within a second
    "unanswerable",  # one that no article answers
    "mixed",  # one of each
    "edited",  # a question whose words are changed
    "revoked",  # a question that is taken back
    "person",  # a person of the organisation answers in the organisation's own app
]
EventKind: TypeAlias = Literal["message", "edit", "revoke", "echo", "unknown", "unrouted"]
#: How a body is posted: as it should be, or in a way that must be refused or become a dead letter.
BodyKind: TypeAlias = Literal["signed", "unsigned", "wrong_signature", "not_json"]
StatusName: TypeAlias = Literal["sent", "delivered", "read", "failed"]
CallFault: TypeAlias = Literal[
    "none",
    "unavailable",  # 503 with the provider's error: a definite no, nothing is taken
    "throttled",  # 429: the same
    "broken_off",  # the connection ends before the provider saw the call: unclear, nothing is taken
    "answer_lost",  # the provider takes it and the connection ends: unclear
    "answer_late",  # the provider takes it at once and answers late: its statuses come first
    "silent",  # the call is swallowed and never answered: unclear, nothing is taken
]
#: What is killed, paused or ended.
Target: TypeAlias = Literal[
    "api",  # the server's parent
    "api_child",  # the process that serves
    "worker",
    "worker_2",
    "worker_child",  # of either worker
    "worker_paused",  # a child of either, with SIGSTOP, and let go later
    "beat",
    "backend",  # one connection of the product in Postgres, with SIGKILL: Postgres restarts all of them
    "session",  # the same with SIGTERM: it alone ends
    "postgres",  # the postmaster
    "redis",
]
Server: TypeAlias = Literal["postgres", "redis", "provider"]
NetworkFault: TypeAlias = Literal["slow", "reset", "cut", "silence", "refuse"]

STORIES: tuple[Story, ...] = get_args(Story)
TARGETS: tuple[Target, ...] = get_args(Target)
NETWORK_FAULTS: tuple[NetworkFault, ...] = get_args(NetworkFault)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One stranger and one organisation."""

    organisation: Organisation
    story: Story
    #: The stranger's number.
    sender: str
    #: Whether their provider takes the key of a message and gives its first answer again when the key comes again.
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a provider tells. `at_ms` is when it happens by the provider's clock."""

    kind: EventKind
    at_ms: int
    #: None for what belongs to no conversation.
    conversation: int | None
    text: str = ""
    #: The message that an edit or a revoke is about.
    target: int | None = None
    #: Whether no article answers it.
    unanswerable: bool = False
    #: Whether it is told after everything else has come to rest.
    epilogue: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What one POST carries."""

    events: tuple[int, ...]
    kind: BodyKind = "signed"


@dataclass(frozen=True, slots=True)
class Post:
    """One POST of a body, which is repeated until it is answered 200 where that is what it should get."""

    at_ms: int
    body: int


@dataclass(frozen=True, slots=True)
class Status:
    """One status webhook that follows an accepted message, posted `copies` times."""

    name: StatusName
    delay_ms: int
    copies: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """How one call of the provider goes: the n-th message of one conversation, and what the provider tells of it."""

    fault: CallFault
    statuses: tuple[Status, ...]
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that dies, or stops for `for_ms`. `pick` chooses among those there are at that moment."""

    at_ms: int
    target: Target
    pick: int
    for_ms: int = 0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What happens on the way to a server. `amount` is the delay of each piece in ms, or the bytes before the cut."""

    at_ms: int
    server: Server
    fault: NetworkFault
    for_ms: int = 0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The whole of it. Equal arguments give equal schedules."""

    seed: int
    seconds: float
    rate_per_s: float
    conversations: tuple[Conversation, ...]
    events: tuple[Event, ...]
    bodies: tuple[Body, ...]
    posts: tuple[Post, ...]
    #: By conversation; what comes after the last of them goes well.
    calls: tuple[tuple[Call, ...], ...]
    kills: tuple[Kill, ...]
    disturbances: tuple[Disturbance, ...]
    #: Posted once all has come to rest, from 0 again.
    epilogue: tuple[Post, ...]

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """The whole of it, for people and for a failure's record."""
        return asdict(self)


#: How a call goes for which nothing is planned.
DEFAULT_CALL = Call("none", (Status("sent", 40), Status("delivered", 200), Status("read", 700)))
