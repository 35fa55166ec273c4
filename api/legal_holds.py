"""Legal holds: keeping what a conversation's runs stored, whatever the retention says."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, StringConstraints

from api.state import PathId, ProcessDatabase
from checkpoints.legal_holds import (
    REASON_CHARACTERS_MAX,
    hold_conversation,
    legal_hold_of,
    release_conversation,
)
from core.ids import ConversationId
from db.transactions import tenant_tx
from rest.api_keys import Reader, Writer
from rest.problems import problem_responses

router = APIRouter(
    prefix="/v1/conversations/{conversation_id}/legal-hold",
    tags=["conversations"],
    responses=problem_responses(401, 403, 404, 503),
)

Reason = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=REASON_CHARACTERS_MAX, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$"
    ),
]


class HoldRequest(BaseModel):
    """Why a conversation is held."""

    reason: Reason = Field(description="For example the number of the case")


class ConversationHold(BaseModel):
    """A conversation that is held."""

    conversation_id: str
    reason: str = Field(description="Why it is held")


@router.get("", summary="Why a conversation is held")
async def get_hold(conversation_id: PathId, key: Reader, database: ProcessDatabase) -> ConversationHold:
    """The hold of one conversation of this tenant; 404 where it is not held."""
    async with tenant_tx(database, key.tenant_id, commit="api.legal_hold") as connection:
        hold = await legal_hold_of(connection, ConversationId(conversation_id))
    return ConversationHold(conversation_id=hold.conversation_id, reason=hold.reason)


@router.put("", summary="Hold a conversation", responses=problem_responses(400))
async def put_hold(
    conversation_id: PathId, asked: HoldRequest, key: Writer, database: ProcessDatabase
) -> ConversationHold:
    """Keep its checkpoints until it is released; a conversation that is held already takes the new reason."""
    async with tenant_tx(database, key.tenant_id, commit="api.legal_hold_set") as connection:
        hold = await hold_conversation(connection, ConversationId(conversation_id), asked.reason)
    return ConversationHold(conversation_id=hold.conversation_id, reason=hold.reason)


@router.delete("", summary="Release a conversation", status_code=204)
async def delete_hold(conversation_id: PathId, key: Writer, database: ProcessDatabase) -> None:
    """Let the retention take its course again; nothing happens where the conversation is not held."""
    async with tenant_tx(database, key.tenant_id, commit="api.legal_hold_release") as connection:
        await release_conversation(connection, ConversationId(conversation_id))
