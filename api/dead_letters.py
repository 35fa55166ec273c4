"""Dead letters: what ended badly, why, and what a person can do about it."""

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.state import GraphsLoaded, ProcessDatabase, Ring
from db.transactions import tenant_tx
from graphs import dead_letter_acts as acts
from graphs.dead_letters import (
    LETTER_ID_PATTERN,
    LetterId,
    LetterKind,
    get_dead_letter,
    list_dead_letters,
    parse_letter_id,
)
from rest.api_keys import ApiKey, Reader, Writer
from rest.idempotency import Acting, answer_once
from rest.pages import LIMIT_DEFAULT, Cursor, CursorPosition, Limit, Page, decode_cursor, page_of
from rest.problems import problem_responses
from rest.times import UtcTime

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"], responses=problem_responses(401, 403, 503))

PathLetterId = Annotated[
    str, Path(pattern=LETTER_ID_PATTERN, description="`<kind>:<id>`, such as `event:123` or `effect:eff_01jd3m…`")
]
BodyLetterId = Annotated[str, Field(pattern=LETTER_ID_PATTERN)]


class DeadLetter(BaseModel):
    """One thing that ended badly and waits for an operator."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="`<kind>:<id>`")
    kind: LetterKind
    tenant_id: str
    what: str = Field(description="Its own kind: of job, event, effect or run; of a body the channel")
    cause: str | None = Field(description="What went wrong, as it was last seen")
    attempts: int
    conversation_id: str | None
    account_id: str | None = Field(description="The account that it came by or was to leave by, where there is one")
    trace_id: str
    created_at: UtcTime
    died_at: UtcTime | None = Field(description="Where it is known")


class BodyDetail(BaseModel):
    """A webhook's body that could not be split into events."""

    kind: Literal["body"]
    source_id: str
    channel: str
    body_bytes: int
    erased: bool = Field(description="What it held is gone, or may be any moment: it can only be discarded")


class EventDetail(BaseModel):
    """An event that could not be written into the tenant's rows."""

    kind: Literal["event"]
    account_id: str
    event_kind: str
    event_key: str
    body_id: int
    position: int
    erased: bool = Field(description="What it held is gone: it can only be discarded")


class JobDetail(BaseModel):
    """A job that was given up."""

    kind: Literal["job"]
    unique_key: str
    lane: str
    due_at: UtcTime
    payload: JsonValue


class EffectDetail(BaseModel):
    """A message that a person must decide about."""

    kind: Literal["effect"]
    key: str = Field(description="The same at every attempt")
    delivery: Literal["at_least_once", "at_most_once"]
    message: JsonValue = Field(description="What is to be sent, and to whom")
    message_id: str | None
    message_status: str | None
    may_have_left: bool = Field(description="Nobody knows whether it arrived; otherwise it certainly did not")
    resends: int
    sending_at: UtcTime | None = Field(description="When it was last handed over")
    run_id: str | None
    channel: str | None
    conversation_owner: str | None = Field(description="Who answers: agent, awaiting_person or person")
    account_state: str | None
    account_stop_reason: str | None


class RunDetail(BaseModel):
    """A run that failed or was given up. Its steps are at `/v1/runs/{run_id}/steps`."""

    kind: Literal["run"]
    run_kind: str
    graph: str
    graph_version: str | None
    state: str
    thread_id: str
    parent_id: str | None
    dry_run: bool
    model: str | None
    started_at: UtcTime | None
    last_node: str | None = Field(description="The last step that it finished")


class DeadLetterDetail(DeadLetter):
    """One dead letter with what its kind knows besides."""

    detail: Annotated[BodyDetail | EventDetail | JobDetail | EffectDetail | RunDetail, Field(discriminator="kind")]


class LetterPosition(CursorPosition):
    """A dead letter's place in the listing."""

    at: UtcTime
    id: BodyLetterId


Reason: TypeAlias = Annotated[
    str, Field(max_length=acts.REASON_CHARACTERS_MAX, pattern=r"^[^\x00]*$", description="Kept beside the cause")
]


class Discard(BaseModel):
    """Why it is let go."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = ""


class LettersById(BaseModel):
    """Those that are named."""

    model_config = ConfigDict(extra="forbid")

    ids: list[BodyLetterId] = Field(max_length=acts.BULK_IDS_MAX)


class LettersOfKind(BaseModel):
    """The latest of one kind."""

    model_config = ConfigDict(extra="forbid")

    kind: LetterKind
    limit: int = Field(default=acts.BULK_OF_KIND_MAX, ge=1, le=acts.BULK_OF_KIND_MAX)


class DiscardById(LettersById):
    """Those that are named, and why they are let go."""

    reason: Reason = ""


class DiscardOfKind(LettersOfKind):
    """The latest of one kind, and why they are let go."""

    reason: Reason = ""


class ActAnswer(BaseModel):
    """What became of an act on one dead letter."""

    id: str
    outcome: Literal["done", "refused"]
    reason: str | None = Field(default=None, description="Why it was refused")


class BulkAnswer(BaseModel):
    """What became of each, in the order in which they were asked for; each counts once."""

    items: list[ActAnswer]


@router.get("", summary="List dead letters, the latest first", responses=problem_responses(400))
async def list_letters(
    key: Reader,
    database: ProcessDatabase,
    kind: Annotated[LetterKind | None, Query(description="Only this kind")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[DeadLetter]:
    """Everything of this tenant that ended badly and waits for an operator."""
    place = decode_cursor(cursor, LetterPosition)
    before: tuple[datetime, str] | None = (place.at, place.id) if place else None
    found = await list_dead_letters(database, key.tenant_id, kind=kind, before=before, limit=limit + 1)
    return page_of(
        [DeadLetter.model_validate(letter) for letter in found],
        limit=limit,
        positions=[LetterPosition(at=letter.at, id=letter.id) for letter in found],
    )


@router.post("/retry", summary="Try several again", responses=problem_responses(400))
async def retry_letters(
    asked: LettersById | LettersOfKind, key: Writer, database: ProcessDatabase, _graphs: GraphsLoaded
) -> BulkAnswer:
    """Each on its own: one that is refused keeps no other from being tried."""
    return await _act_on_several(asked, key, database, acts.Act("retry", by=key.id))


@router.post("/discard", summary="Let several go", responses=problem_responses(400))
async def discard_letters(
    asked: DiscardById | DiscardOfKind, key: Writer, database: ProcessDatabase, _graphs: GraphsLoaded
) -> BulkAnswer:
    """Each on its own: one that is refused keeps no other from being let go."""
    return await _act_on_several(asked, key, database, acts.Act("discard", by=key.id, reason=asked.reason))


@router.get("/retry", include_in_schema=False)
@router.get("/discard", include_in_schema=False)
async def refuse_to_look() -> None:
    """These are acts, and would otherwise be taken for ids that are malformed."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": "POST"})


@router.get("/{letter_id}", summary="One dead letter, in detail", responses=problem_responses(404))
async def get_letter(letter_id: PathLetterId, key: Reader, database: ProcessDatabase) -> DeadLetterDetail:
    """What is known of it. What a stranger sent is not shown."""
    letter, detail = await get_dead_letter(database, key.tenant_id, parse_letter_id(letter_id))
    shown = DeadLetter.model_validate(letter).model_dump()
    return DeadLetterDetail.model_validate(shown | {"detail": detail | {"kind": letter.kind}})


@dataclass(frozen=True, slots=True)
class Settler:
    """Who settles one dead letter, and what that takes. The key is looked at first."""

    key: Writer
    database: ProcessDatabase
    acting: Acting
    ring: Ring
    graphs: GraphsLoaded

    async def settle(self, letter_id: str, verb: acts.Verb, *, reason: str = "") -> JSONResponse:
        """Do it once, and wake whoever carries it out."""
        letter, act = parse_letter_id(letter_id), acts.Act(verb, by=self.key.id, reason=reason)

        async def settled() -> ActAnswer:
            await acts.act_on(self.database, self.key.tenant_id, letter, act)
            return ActAnswer(id=str(letter), outcome="done")

        async with tenant_tx(self.database, self.key.tenant_id, commit="api.dead_letter") as connection:
            answer = await answer_once(connection, self.acting, settled)
        self.ring()
        return answer


Settling = Annotated[Settler, Depends()]


@router.post(
    "/{letter_id}/retry", summary="Try it again", response_model=ActAnswer, responses=problem_responses(404, 409)
)
async def retry_letter(letter_id: PathLetterId, settler: Settling) -> JSONResponse:
    """Back into its queue. A message is sent once more under the same key, unless it may not leave now."""
    return await settler.settle(letter_id, "retry")


@router.post(
    "/{letter_id}/discard", summary="Let it go", response_model=ActAnswer, responses=problem_responses(400, 404, 409)
)
async def discard_letter(letter_id: PathLetterId, settler: Settling, asked: Discard | None = None) -> JSONResponse:
    """It is not tried again. Its row and its cause stay; what it held sealed is erased."""
    return await settler.settle(letter_id, "discard", reason=asked.reason if asked else "")


@router.post(
    "/{letter_id}/sent",
    summary="Say that it was sent",
    response_model=ActAnswer,
    responses=problem_responses(400, 404, 409),
)
async def mark_letter_sent(letter_id: PathLetterId, settler: Settling) -> JSONResponse:
    """Only for an effect whose outcome is unclear, by someone who looked whether it arrived."""
    return await settler.settle(letter_id, "mark_sent")


async def _act_on_several(
    asked: LettersById | LettersOfKind, key: ApiKey, database: ProcessDatabase, act: acts.Act
) -> BulkAnswer:
    letters: list[LetterId]
    if isinstance(asked, LettersById):
        letters = [parse_letter_id(text) for text in asked.ids]
    else:
        found = await list_dead_letters(database, key.tenant_id, kind=asked.kind, limit=asked.limit)
        letters = [parse_letter_id(letter.id) for letter in found]
    answers = await acts.act_on_each(database, key.tenant_id, letters, act)
    return BulkAnswer(
        items=[
            ActAnswer(id=answer.id, outcome="refused", reason=answer.refused.message)
            if answer.refused
            else ActAnswer(id=answer.id, outcome="done")
            for answer in answers
        ]
    )
