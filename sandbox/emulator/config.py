"""What the emulator is told at its start: the organisations it hosts, the people who write to them, and its pace.

The file's path stands in `CHOWK_SANDBOX_CONFIG`; its shape is `EmulatorConfig`, as JSON.
"""

import json
import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from core.errors import SettingInvalid

CONFIG_VARIABLE = "CHOWK_SANDBOX_CONFIG"

StatusName: TypeAlias = Literal["sent", "delivered", "read"]
Milliseconds: TypeAlias = Annotated[float, Field(ge=0, le=60_000)]


class Part(BaseModel):
    """A part of the configuration; keys that other parts of the sandbox need are let through."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Business(Part):
    """One organisation's number, as its Meta app and WhatsApp Business Account know it."""

    name: str = Field(min_length=1)
    about: str = ""
    slug: str = ""
    channel: str = "whatsapp"
    phone_number_id: str = Field(pattern=r"^\d{1,32}$")
    waba_id: str = Field(pattern=r"^\d{1,32}$")
    display_phone_number: str
    access_token: SecretStr
    app_secret: SecretStr
    verify_token: SecretStr
    webhook_url: str = Field(pattern=r"^https?://")
    #: What a newcomer may ask; shown on the phone page.
    suggestions: tuple[str, ...] = ()


class Customer(Part):
    """A person with a phone. One who took a username may be known to businesses by their BSUID alone."""

    name: str = Field(min_length=1)
    wa_id: str | None = Field(None, pattern=r"^\d{5,20}$")
    bsuid: str | None = Field(None, pattern=r"^[A-Z]{2}\.[A-Za-z0-9.]{1,128}$")
    username: str | None = None
    about: str = ""
    #: Slugs of the organisations that this person writes to, the usual one first.
    talks_to: tuple[str, ...] = ()
    #: Messages that the page offers to whoever does not know where to begin.
    try_asking: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_reachable(self) -> Self:
        if not (self.wa_id or self.bsuid):
            raise ValueError(f"customer {self.name!r} has neither wa_id nor bsuid; give one")
        return self

    @property
    def id(self) -> str:
        """The customer's name in URLs: the phone number where there is one, else the BSUID."""
        return self.wa_id or self.bsuid or ""


class StatusPlan(Part):
    """Which status webhooks follow an accepted message, in which order, and how long after it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    order: tuple[StatusName, ...] = ("sent", "delivered", "read")
    #: Milliseconds after acceptance for the first, the second and the third of `order`.
    delays_ms: tuple[Milliseconds, ...] = (40, 200, 700)
    #: How often each one is posted: 2 shows what a receiver makes of a status that arrives twice.
    copies: int = Field(default=1, ge=1, le=5)

    @model_validator(mode="after")
    def _has_a_delay_for_each(self) -> Self:
        if len(self.delays_ms) < len(self.order):
            raise ValueError(f"delays_ms has {len(self.delays_ms)} values for {len(self.order)} statuses")
        return self


class DeliveryPlan(Part):
    """How webhooks are posted and tried again. Meta tries for 7 days; here it ends with `attempts_max`."""

    lanes: int = Field(default=16, ge=1, le=64)
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    #: Seconds before the second, third… attempt; the last value repeats.
    retry_delays_s: tuple[float, ...] = Field(default=(0.2, 0.5, 1, 2, 4, 8, 15), min_length=1)
    attempts_max: int = Field(default=120, ge=1, le=10_000)
    pending_max: int = Field(default=50_000, ge=1)


class EmulatorConfig(Part):
    """The whole of it."""

    businesses: tuple[Business, ...] = ()
    customers: tuple[Customer, ...] = ()
    statuses: StatusPlan = StatusPlan()
    delivery: DeliveryPlan = DeliveryPlan()

    @field_validator("businesses", mode="before")
    @classmethod
    def _only_whatsapp(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        return [one for one in value if not isinstance(one, dict) or one.get("channel", "whatsapp") == "whatsapp"]

    @model_validator(mode="after")
    def _has_no_twins(self) -> Self:
        _refuse_twins("phone_number_id", (business.phone_number_id for business in self.businesses))
        _refuse_twins("customer", (customer.id for customer in self.customers))
        return self


def load_config() -> EmulatorConfig:
    """Read the file that `CHOWK_SANDBOX_CONFIG` names.

    Raises:
        SettingInvalid: there is no such file, or its content is not an `EmulatorConfig`.
    """
    path = os.environ.get(CONFIG_VARIABLE, "")
    if not path:
        raise SettingInvalid(f"{CONFIG_VARIABLE} is not set; `chowk dev` sets it, or name a JSON file of businesses")
    try:
        return EmulatorConfig.model_validate_json(Path(path).read_bytes())
    except OSError as error:
        raise SettingInvalid(f"{CONFIG_VARIABLE}={path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        faults = json.loads(error.json(include_url=False, include_input=False))
        lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults]
        raise SettingInvalid(f"{CONFIG_VARIABLE}={path}: {'; '.join(lines)}") from None


def _refuse_twins(what: str, values: Iterable[Hashable]) -> None:
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{what} {value} is listed twice; give each its own")
        seen.add(value)
