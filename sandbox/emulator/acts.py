"""What a customer can do on the phone, and what comes of it."""

from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: What a person can type into one message of the real app.
TEXT_CHARS_MAX = 65_536
CAPTION_CHARS_MAX = 1024

ActKind: TypeAlias = Literal[
    "text", "image", "document", "audio", "video", "reaction", "button_reply", "list_reply", "edit", "revoke"
]
_TARGETED = frozenset({"reaction", "button_reply", "list_reply", "edit", "revoke"})
_WORDED = frozenset({"text", "edit"})


class CustomerAct(BaseModel):
    """One thing a customer does.

    `reply_to` is the message that a text or file answers. `target` is the message that is reacted to, chosen from,
    changed or taken back. `text` is the words, the caption, or the emoji of a reaction ("" removes it). `choice` is
    the id of the button or row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    business: str
    kind: ActKind = "text"
    text: str = ""
    reply_to: str | None = None
    target: str | None = None
    choice: str | None = None
    voice: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind in _TARGETED and not self.target:
            raise ValueError(f"{self.kind} needs `target`, the id of a message")
        if self.kind in _WORDED and not self.text.strip():
            raise ValueError(f"{self.kind} needs `text` with at least one word")
        if len(self.text) > (TEXT_CHARS_MAX if self.kind in _WORDED else CAPTION_CHARS_MAX):
            raise ValueError(f"text of {len(self.text)} characters is too long for {self.kind}")
        return self


class Performed(BaseModel):
    """What came of an act: the id of its webhook's message, and the bubble that it made or changed."""

    model_config = ConfigDict(frozen=True)

    id: str
    message: dict[str, object] = Field(default_factory=dict)
