"""What each error code of WhatsApp means for us: try again later, ask a person, or stop the account.

Codes: developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes. Decide on the code alone; titles change.
"""

from collections.abc import Mapping
from typing import Final

from channels.events import ProviderFault, Remedy
from channels.whatsapp.payloads import ErrorData, WireError

_CODES: Final[Mapping[Remedy, tuple[int, ...]]] = {
    "retry": (
        1,  # unknown, possibly a server error
        2,  # temporary outage
        4,  # the app's calls
        32,  # the page's calls
        613,  # the call's own rate
        80007,  # the business account's rate
        130429,  # throughput of the number
        131000,  # something went wrong
        131016,  # service unavailable
        131053,  # media upload
        131056,  # too many messages to this one person
        131057,  # the number is being upgraded
        133016,  # too many registrations
    ),
    "person": (
        100,  # a parameter is wrong
        130472,  # the person's number is part of an experiment
        131008,  # a parameter is missing
        131009,  # a parameter's value is wrong
        131021,  # sender and recipient are the same
        131026,  # cannot be delivered to this person
        131030,  # not in the test number's allowed list
        131037,  # the display name is not approved
        131042,  # payment of the business account
        131047,  # more than 24 hours since the person wrote: a template is needed
        131049,  # held back for a healthy ecosystem
        131050,  # the person stopped marketing messages
        131051,  # this type of message is not supported
        131052,  # media of the person could not be fetched
        131062,  # this message cannot go to a user id; a phone number is needed
        132000,  # template: number of parameters
        132001,  # template: does not exist
        132005,  # template: text too long
        132007,  # template: policy
        132008,  # template: parameter format
        132012,  # template: parameter format
        132015,  # template: paused
        132016,  # template: disabled
    ),
    "stop": (
        0,  # authentication failed
        3,  # the app lacks the capability
        10,  # permission denied
        33,  # the number has been deleted
        190,  # the access token is dead
        *range(200, 300),  # permissions
        368,  # blocked for policy violations
        130497,  # barred from messaging people of this country
        131005,  # access denied
        131031,  # the business account is locked
        131045,  # the number's registration
        131048,  # too many messages blocked or flagged as spam
        133010,  # the number is not registered
    ),
}
_TABLE: Final[Mapping[str, Remedy]] = {str(code): remedy for remedy, codes in _CODES.items() for code in codes}


def remedy_of(code: str) -> Remedy | None:
    """What helps against this error code; None where the table does not know it."""
    return _TABLE.get(code)


def fault_of(error: WireError) -> ProviderFault:
    """An error of a webhook as a fault. A code that the table does not know asks for a person."""
    code = error.code or "none"
    title = error.title or error.message or f"error {code}"
    detail = error.error_data.details if isinstance(error.error_data, ErrorData) else error.error_data
    if not detail and error.message != title:
        detail = error.message
    return ProviderFault(code=code, title=title, detail=detail or None, remedy=remedy_of(code) or "person")
