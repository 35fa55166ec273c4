"""Conversations and their messages, as a tenant's own programs and dashboard read them."""

import re
from typing import Annotated, Literal, TypeAlias

from fastapi import APIRouter, Query
from psycopg.rows import DictRow
from pydantic import BaseModel, Field, JsonValue

from api.state import PathId, ProcessDatabase
from channels.events import IdentityKind, MessageKind
from core.errors import NotFound
from core.ids import ConversationId
from db.pools import Connection
from db.transactions import tenant_tx
from inbox.order import SAID_AT
from rest.api_keys import Reader
from rest.pages import LIMIT_DEFAULT, Cursor, CursorPosition, Limit, Page, decode_cursor, page_of
from rest.problems import problem_responses
from rest.times import UtcTime

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], responses=problem_responses(401, 403, 503))

QUERY_LENGTH_MAX = 200
#: Digits with what people write between them.
_PHONE = re.compile(r"\+?[\d\s().-]{3,}")

Owner: TypeAlias = Literal["agent", "awaiting_person", "person"]
MessageStatus: TypeAlias = Literal["received", "queued", "sending", "sent", "delivered", "read", "failed", "unknown"]


class ContactIdentity(BaseModel):
    """One name that a provider has for a person."""

    kind: IdentityKind
    value: str


class ConversationContact(BaseModel):
    """Whom the conversation is with."""

    id: str
    name: str | None
    username: str | None
    identities: list[ContactIdentity]


class Conversation(BaseModel):
    """Everything said between one contact and one account."""

    id: str
    channel: str
    account_id: str
    contact: ConversationContact
    status: Owner = Field(description="Who answers: the agent, nobody until a person comes, or a person")
    handed_off_at: UtcTime | None
    hand_off_reason: str | None
    last_message_at: UtcTime
    created_at: UtcTime


class Attachment(BaseModel):
    """A file of a message."""

    id: str | None = None
    mime: str | None = None
    name: str | None = None
    size_bytes: int | None = None
    state: str = Field(default="referenced", description="How far we have it: `referenced` means not fetched yet")


class Message(BaseModel):
    """One message of a conversation."""

    id: str
    conversation_id: str
    direction: Literal["inbound", "outbound"]
    author: Literal["contact", "agent", "human", "system"]
    kind: MessageKind
    text: str | None
    attachments: list[Attachment]
    provider_message_id: str | None
    reply_to: str | None = Field(description="The provider's id of the message that this one answers")
    provider_ts: UtcTime | None
    received_ts: UtcTime
    status: MessageStatus
    edited: bool
    deleted: bool
    citations: list[dict[str, JsonValue]] = Field(description="The sources of an answer")
    run_id: str | None = Field(description="The run that wrote it, or that answered it")


class ConversationPosition(CursorPosition):
    """A conversation's place in the list."""

    last_message_at: UtcTime
    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")


class MessagePosition(CursorPosition):
    """A message's place in its conversation."""

    said_at: UtcTime
    sequence: int = Field(ge=0, lt=2**63)


CONVERSATION = """
SELECT c.id, c.channel, c.account_id, c.owner AS status, c.handed_off_at, c.hand_off_reason, c.last_message_at,
       c.created_at,
       jsonb_build_object('id', p.id, 'name', p.name, 'username', p.username, 'identities', (
         SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('kind', i.kind, 'value', i.value)), '[]')
         FROM contact_identities i WHERE i.contact_id = p.id)) AS contact
FROM conversations c JOIN contacts p ON p.id = c.contact_id
"""

#: `pattern` looks into names, identities and texts; `digits` finds a phone number however it was typed.
LIST = (
    CONVERSATION
    + """
WHERE (%(channel)s::text IS NULL OR c.channel = %(channel)s)
  AND (%(status)s::text IS NULL OR c.owner = %(status)s)
  AND (%(before)s::timestamptz IS NULL OR (c.last_message_at, c.id) < (%(before)s, %(before_id)s))
  AND (%(pattern)s::text IS NULL
       OR p.name ILIKE %(pattern)s OR p.username ILIKE %(pattern)s
       OR EXISTS (SELECT FROM contact_identities i
                  WHERE i.contact_id = p.id AND (i.value ILIKE %(pattern)s OR i.value LIKE %(digits)s))
       OR EXISTS (SELECT FROM messages m WHERE m.conversation_id = c.id AND m.text ILIKE %(pattern)s))
ORDER BY c.last_message_at DESC, c.id DESC LIMIT %(limit)s
"""
)

MESSAGES = f"""
SELECT * FROM (
  SELECT id, conversation_id, direction, author, kind, text, attachments, provider_message_id, reply_to, provider_ts,
         received_ts, status, edited, deleted, citations, run_id, sequence, {SAID_AT} AS said_at
  FROM messages WHERE conversation_id = %(conversation_id)s) AS message
WHERE %(said_at)s::timestamptz IS NULL OR (said_at, sequence) > (%(said_at)s, %(sequence)s)
ORDER BY said_at, sequence LIMIT %(limit)s
""".encode()


@router.get("", summary="List conversations, the latest first", responses=problem_responses(400))
async def list_conversations(
    key: Reader,
    database: ProcessDatabase,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=QUERY_LENGTH_MAX,
            pattern=r"^[^\x00]*$",
            description="Matches identities such as a phone number, names, and the text of messages",
        ),
    ] = None,
    channel: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,32}$", description="For example `whatsapp`")] = None,
    status: Annotated[Owner | None, Query(description="Who answers")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[Conversation]:
    """Conversations of this tenant that match every filter given."""
    place = decode_cursor(cursor, ConversationPosition)
    values = {
        "channel": channel,
        "status": status,
        "pattern": None if q is None else _containing(q),
        "digits": None if q is None else _phone_pattern(q),
        "before": place and place.last_message_at,
        "before_id": place and place.id,
        "limit": limit + 1,
    }
    async with tenant_tx(database, key.tenant_id, commit="api.conversations") as connection:
        rows = await (await connection.execute(LIST, values)).fetchall()
    return page_of(
        [Conversation.model_validate(row) for row in rows],
        limit=limit,
        positions=[ConversationPosition(last_message_at=row["last_message_at"], id=row["id"]) for row in rows],
    )


@router.get("/{conversation_id}", summary="One conversation", responses=problem_responses(404))
async def get_conversation(conversation_id: PathId, key: Reader, database: ProcessDatabase) -> Conversation:
    """One conversation of this tenant."""
    async with tenant_tx(database, key.tenant_id, commit="api.conversation") as connection:
        return Conversation.model_validate(await _conversation(connection, ConversationId(conversation_id)))


@router.get(
    "/{conversation_id}/messages", summary="Its messages, the oldest first", responses=problem_responses(400, 404)
)
async def list_messages(
    conversation_id: PathId,
    key: Reader,
    database: ProcessDatabase,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[Message]:
    """What was said in one conversation, in the order in which it was said, however late some of it came to us."""
    place = decode_cursor(cursor, MessagePosition)
    values = {
        "conversation_id": conversation_id,
        "said_at": place and place.said_at,
        "sequence": place and place.sequence,
        "limit": limit + 1,
    }
    async with tenant_tx(database, key.tenant_id, commit="api.messages") as connection:
        await _conversation(connection, ConversationId(conversation_id))
        rows = await (await connection.execute(MESSAGES, values)).fetchall()
    return page_of(
        [Message.model_validate(row) for row in rows],
        limit=limit,
        positions=[MessagePosition(said_at=row["said_at"], sequence=row["sequence"]) for row in rows],
    )


async def _conversation(connection: Connection, conversation_id: ConversationId) -> DictRow:
    cursor = await connection.execute(f"{CONVERSATION} WHERE c.id = %s".encode(), (conversation_id,))
    row = await cursor.fetchone()
    if row is None:
        raise NotFound(f"there is no conversation {conversation_id!r}")
    return row


def _containing(text: str) -> str:
    """A LIKE pattern for values that contain this very text."""
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"%{escaped}%"


def _phone_pattern(text: str) -> str | None:
    """A LIKE pattern for identities that contain these digits; None where the text is not part of a phone number."""
    digits = re.sub(r"\D", "", text) if _PHONE.fullmatch(text) else ""
    return f"%{digits}%" if digits else None
