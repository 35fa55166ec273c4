"""What a caller asks of a run, in the protocol's words. What we do not do is refused, never passed over in silence."""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StrictBool

from core.errors import RequestInvalid
from rest.json_values import StorableJson

StreamMode: TypeAlias = Literal["updates", "values"]
STREAM_MODES: tuple[StreamMode, ...] = ("updates", "values")

ID = r"^[A-Za-z0-9_-]{1,64}$"
ThreadId: TypeAlias = Annotated[str, Field(pattern=ID)]
CheckpointId: TypeAlias = Annotated[str, Field(pattern=ID)]
#: Of a path: what has no such shape is no id at all; what is of another tenant is as unknown as what never was.
ThreadPath: TypeAlias = Annotated[str, Path(pattern=ID, description="A conversation's id, or a run's own")]
RunPath: TypeAlias = Annotated[str, Path(pattern=ID, description="An id such as `run_01jd3m…`")]
CheckpointPath: TypeAlias = Annotated[str, Path(pattern=ID, description="As threads.get_history names it")]
#: Objects and lists that the protocol has and we take only where they say nothing.
NoFields: TypeAlias = Annotated[dict[str, JsonValue], Field(max_length=0)]
NoEntries: TypeAlias = Annotated[list[JsonValue], Field(max_length=0)]


def only(taken: Sequence[JsonValue], *, why: str) -> BeforeValidator:
    """Take these values, and say of every other why it is refused."""

    def check(value: object) -> object:
        if value not in taken:
            raise ValueError(why)
        return value

    return BeforeValidator(check)


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError(f"{value!r} is not a number")  # noqa: TRY004  # of a ValueError the client is told
    return value


#: Of a body, where a number is neither a text nor a truth.
WholeNumber: TypeAlias = Annotated[int, BeforeValidator(_number)]


def _known_modes(value: object) -> object:
    for mode in value if isinstance(value, list) else [value]:
        if mode not in STREAM_MODES:
            raise ValueError(f"the stream mode {mode!r} is not offered; {' and '.join(STREAM_MODES)} are")
    return value


StreamModes: TypeAlias = Annotated[StreamMode | list[StreamMode], BeforeValidator(_known_modes)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CheckpointName(_Closed):
    """A checkpoint, as a thread's state names it. Without a `checkpoint_id` it is where the thread stands."""

    thread_id: ThreadId | None = None
    checkpoint_ns: Annotated[
        Literal[""], only([""], why="states inside an agent are not shown; checkpoint_ns is always empty")
    ] = ""
    checkpoint_id: CheckpointId | None = None
    checkpoint_map: dict[str, JsonValue] | None = None


class ResumeCommand(_Closed):
    """The answer to what a thread waits for."""

    resume: StorableJson = Field(
        default=None, description="The answer where one question is open, or an object of answers by interrupt id"
    )
    update: Annotated[
        NoFields | None, only([None, {}], why="a state is edited on a new thread: use threads.update_state")
    ] = None
    goto: Annotated[
        NoEntries | None, only([None, []], why="which node comes next follows from the state: use threads.update_state")
    ] = None
    graph: None = None


class RunConfig(_Closed):
    """Where to begin, as LangGraph's own configuration has it."""

    configurable: CheckpointName | None = None
    tags: Annotated[NoEntries | None, only([None, []], why="runs carry no tags")] = None
    metadata: Annotated[NoFields | None, only([None, {}], why="runs carry no metadata of their callers")] = None


class RequestedContext(_Closed):
    """How a new run is to behave."""

    dry_run: StrictBool = Field(default=False, description="Act on nothing and let nothing leave")
    prompts: Literal["recorded", "current"] = Field(
        default="recorded", description="Of a replay: the words that it began with, or those of today"
    )


class RunRequest(_Closed):
    """A run to resume, to fork at a checkpoint, or to replay."""

    assistant_id: str = Field(min_length=1, max_length=64, description="The graph's name or its assistant's id")
    input: Annotated[
        None,
        only(
            [None],
            why="a conversation is advanced by its messages and takes no input; command.resume answers a question,"
            " threads.update_state begins anew with an edited state",
        ),
    ] = None
    command: ResumeCommand | None = None
    checkpoint: CheckpointName | None = Field(default=None, description="Fork the thread here")
    checkpoint_id: CheckpointId | None = Field(default=None, description="Fork the thread here")
    config: RunConfig | None = None
    context: RequestedContext | None = None
    stream_mode: StreamModes = Field(default="values", description="Of a stream")
    stream_subgraphs: StrictBool = Field(default=False, description="Of a stream: the steps inside agents too")
    stream_resumable: StrictBool = Field(default=False, description="Every stream is")
    if_not_exists: Literal["create", "reject"] | None = Field(default=None, description="The thread must exist")
    strict_resume: Annotated[Literal[True] | None, only([None, True], why="every answer is checked strictly")] = None
    multitask_strategy: Annotated[
        Literal["reject"] | None,
        only([None, "reject"], why="a run that is at work is left alone, so `reject` is what happens; cancel it first"),
    ] = None
    durability: Annotated[
        Literal["sync"] | None, only([None, "sync"], why="every step is stored before the next begins: `sync`")
    ] = None
    checkpoint_during: Annotated[Literal[True] | None, only([None, True], why="every step is stored")] = None
    on_disconnect: Annotated[
        Literal["continue"] | None, only([None, "continue"], why="a run goes on when its caller goes away; cancel it")
    ] = None
    on_completion: Annotated[Literal["keep"] | None, only([None, "keep"], why="threads are kept")] = None
    after_seconds: Annotated[Literal[0] | None, only([None, 0], why="a run begins at once")] = None
    metadata: Annotated[NoFields | None, only([None, {}], why="runs carry no metadata of their callers")] = None
    webhook: Annotated[None, only([None], why="no webhook is called; join the run")] = None
    interrupt_before: Annotated[NoEntries | None, only([None, []], why="a run stops only where its graph asks")] = None
    interrupt_after: Annotated[NoEntries | None, only([None, []], why="a run stops only where its graph asks")] = None
    feedback_keys: Annotated[NoEntries | None, only([None, []], why="no feedback is kept")] = None
    langsmith_tracer: Annotated[None, only([None], why="traces go where the operator of the server says")] = None

    @property
    def modes(self) -> frozenset[StreamMode]:
        """What a stream of this run tells."""
        return frozenset([self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode)

    def checkpoint_of(self, thread_id: str) -> str | None:
        """The checkpoint of this thread that is named; None for where it stands.

        Raises:
            RequestInvalid: it is one of another thread, or two are named.
        """
        configured = self.config.configurable if self.config else None
        by_id = None if self.checkpoint_id is None else CheckpointName(checkpoint_id=self.checkpoint_id)
        return named_checkpoint(thread_id, [self.checkpoint, by_id, configured])


def named_checkpoint(thread_id: str, names: Sequence[CheckpointName | None]) -> str | None:
    """The one checkpoint of this thread that these name; None where none does.

    Raises:
        RequestInvalid: one is of another thread, or they name two.
    """
    given = [name for name in names if name is not None]
    elsewhere = next((name.thread_id for name in given if name.thread_id not in (None, thread_id)), None)
    if elsewhere is not None:
        raise RequestInvalid(f"checkpoint.thread_id: {elsewhere!r} is not the thread of this request, {thread_id!r}")
    ids = {name.checkpoint_id for name in given if name.checkpoint_id is not None}
    if len(ids) > 1:
        raise RequestInvalid(f"checkpoint: two are named, {' and '.join(sorted(ids))}; name one")
    return next(iter(ids), None)
