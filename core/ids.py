"""Ids: a short prefix that says what it is, and a ULID, so that ids sort by the time they were made.

Every id of ours is minted here, fits `[a-z0-9_]{1,64}` and is safe as a thread id, a role or a schema name.
Ids that a provider gave us are plain strings and are never used as ours.
"""

import re
from typing import NewType

from ulid import ULID

TenantId = NewType("TenantId", str)
"""Also the tenant's database role and the name of its schema: `t_<ulid>`."""
AppId = NewType("AppId", str)
AccountId = NewType("AccountId", str)
ContactId = NewType("ContactId", str)
ConversationId = NewType("ConversationId", str)
MessageId = NewType("MessageId", str)
RunId = NewType("RunId", str)
EffectId = NewType("EffectId", str)
JobId = NewType("JobId", str)
CommandId = NewType("CommandId", str)

_SHAPE = re.compile(r"[a-z]{1,8}_[0-9a-z]{26}")


def new_id(prefix: str) -> str:
    """Mint an id such as `run_01jd3m…`: unique, sortable by time of making."""
    return f"{prefix}_{str(ULID()).lower()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether `text` has the shape of an id of ours with this prefix."""
    return text.startswith(f"{prefix}_") and _SHAPE.fullmatch(text) is not None
