"""Who wrote, and in which conversation: found by any name the provider has for them, made when new.

Works inside the caller's tenant transaction. Two workers may meet the same new person at once: the identity's primary
key lets one make the contact, and the other finds it.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from channels.events import Person
from core.ids import ContactId, ConversationId, TenantId, new_id
from db.pools import Connection

Owner: TypeAlias = Literal["agent", "awaiting_person", "person"]

FIND = """
SELECT i.contact_id, c.name, c.username, count(*) OVER () AS known FROM contact_identities i
JOIN contacts c ON c.id = i.contact_id
WHERE i.account_id = %(account_id)s
  AND (i.kind, i.value) IN (SELECT * FROM unnest(%(kinds)s::text[], %(values)s::text[]))
ORDER BY i.contact_id LIMIT 1
"""

CLAIM_IDENTITIES = """
INSERT INTO contact_identities (account_id, kind, value, contact_id)
SELECT %(account_id)s, kind, value, %(contact_id)s FROM unnest(%(kinds)s::text[], %(values)s::text[]) AS i (kind, value)
ON CONFLICT DO NOTHING
"""

NAME = """
UPDATE contacts SET name = coalesce(%(name)s, name), username = coalesce(%(username)s, username)
WHERE id = %(contact_id)s
"""

CONVERSATION = """
INSERT INTO conversations (id, account_id, contact_id, channel, recipient)
VALUES (%(id)s, %(account_id)s, %(contact_id)s, %(channel)s, %(recipient)s)
ON CONFLICT (account_id, contact_id) DO UPDATE SET recipient = excluded.recipient, last_message_at = clock_timestamp()
RETURNING id, owner, (xmax = 0) AS is_new
"""


@dataclass(frozen=True, slots=True)
class ConversationRef:
    """A conversation as an event meets it."""

    id: ConversationId
    contact_id: ContactId
    owner: Owner


async def contact_of(connection: Connection, account_id: str, person: Person) -> ContactId:
    """The contact behind these identities; made, or given the names it did not have yet."""
    values: dict[str, object] = {
        "account_id": account_id,
        "kinds": [identity.kind for identity in person.identities],
        "values": [identity.value for identity in person.identities],
        "name": person.name,
        "username": person.username,
    }
    found = await (await connection.execute(FIND, values)).fetchone()
    if found is None:
        found = await _make(connection, values)
    values["contact_id"] = found["contact_id"]
    if found["known"] < len(person.identities):
        await connection.execute(CLAIM_IDENTITIES, values)
    if (person.name or found["name"], person.username or found["username"]) != (found["name"], found["username"]):
        await connection.execute(NAME, values)
    return ContactId(found["contact_id"])


async def _make(connection: Connection, values: dict[str, object]) -> DictRow:
    values["contact_id"] = new_id("contact")
    await connection.execute("INSERT INTO contacts (id) VALUES (%(contact_id)s)", values)
    await connection.execute(CLAIM_IDENTITIES, values)
    winner = await (await connection.execute(FIND, values)).fetchone()
    assert winner is not None
    if winner["contact_id"] != values["contact_id"]:
        abandoned = "DELETE FROM contact_identities WHERE contact_id = %(contact_id)s"
        await connection.execute(abandoned, values)
        await connection.execute("DELETE FROM contacts WHERE id = %(contact_id)s", values)
    return winner


async def conversation_of(
    connection: Connection, *, tenant_id: TenantId, account_id: str, channel: str, person: Person
) -> ConversationRef:
    """The conversation of this account with this person, answered from now on at the identity they used last."""
    contact_id = await contact_of(connection, account_id, person)
    values = {
        "id": new_id("conv"),
        "account_id": account_id,
        "contact_id": contact_id,
        "channel": channel,
        "recipient": Jsonb(person.identities[0].model_dump()),
    }
    row = await (await connection.execute(CONVERSATION, values)).fetchone()
    assert row is not None
    if row["is_new"]:
        await connection.execute(
            "INSERT INTO core.conversation_leases (conversation_id, tenant_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (row["id"], tenant_id),
        )
    return ConversationRef(ConversationId(row["id"]), contact_id, row["owner"])
