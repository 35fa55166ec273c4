"""Errors as the Graph API words them.

Shape: `{"error": {"message", "type", "code", "error_subcode"?, "error_data"?, "fbtrace_id"}}`, with the HTTP status
and codes of developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes.
"""

import base64
import secrets

from fastapi.responses import JSONResponse

from core.errors import ChowkError

#: Titles of the codes that a person may ask for by number; the emulator raises some of them by itself.
TITLES = {
    1: "An unknown error occurred",
    2: "Service temporarily unavailable",
    4: "Application request limit reached",
    10: "Application does not have permission for this action",
    100: "Invalid parameter",
    131000: "Something went wrong",
    131005: "Access denied",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131016: "Service unavailable",
    131021: "Recipient cannot be sender",
    131026: "Message undeliverable",
    131030: "Recipient phone number not in allowed list",
    131031: "Business Account locked",
    131042: "Business eligibility payment issue",
    131047: "Re-engagement message",
    131048: "Spam rate limit hit",
    131049: "This message was not delivered to maintain healthy ecosystem engagement.",
    131051: "Unsupported message type",
    131052: "Media download error",
    131053: "Media upload error",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    131057: "Account in maintenance mode",
    131062: "Business-scoped User ID (BSUID) recipients are not supported for this message.",
    130429: "Rate limit hit",
    130472: "User's number is part of an experiment",
    130497: "Business account is restricted from messaging users in this country.",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
    133016: "Account register deregister rate limit exceeded",
    190: "Invalid OAuth access token - Cannot parse access token",
    368: "Temporarily blocked for policies violations",
    80007: "Rate limit issues",
}
#: These are worded without the "(#code)" before them.
UNNUMBERED = frozenset({1, 190})


class GraphError(ChowkError):
    """A refusal in Meta's words. `details` is the sentence that helps; it goes into `error_data`."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        http_status: int = 400,
        kind: str = "OAuthException",
        subcode: int | None = None,
        details: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.graph_code = code
        self.http_status = http_status
        self.kind = kind
        self.subcode = subcode
        self.details = details
        self.retry_after_s = retry_after_s


def missing(parameter: str) -> GraphError:
    """A parameter that has to be there is not, for example `text['body']`."""
    return GraphError(f"(#100) The parameter {parameter} is required.", code=100)


def too_long(parameter: str, chars_max: int) -> GraphError:
    """A parameter is longer than Meta takes."""
    return GraphError(f"(#100) Param {parameter} must be at most {chars_max} characters long.", code=100)


def not_valid(details: str) -> GraphError:
    """A parameter has a value that Meta does not take."""
    return titled(131009, details=details)


def titled(
    code: int, *, http_status: int = 400, details: str | None = None, retry_after_s: float | None = None
) -> GraphError:
    """The error of a code, with its usual title."""
    title = TITLES.get(code, "Unknown error")
    message = title if code in UNNUMBERED else f"(#{code}) {title}"
    return GraphError(message, code=code, http_status=http_status, details=details, retry_after_s=retry_after_s)


def token_invalid() -> GraphError:
    """There is no bearer token, or none that was issued here."""
    return titled(190, http_status=401)


def no_such_object(method: str, object_id: str) -> GraphError:
    """The id is of nothing that this token may touch."""
    return GraphError(
        f"Unsupported {method} request. Object with ID '{object_id}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation. Please read the Graph API documentation at "
        "https://developers.facebook.com/docs/graph-api",
        code=100,
        kind="GraphMethodException",
        subcode=33,
    )


def answer(error: GraphError) -> JSONResponse:
    """The HTTP answer of an error."""
    body: dict[str, object] = {"message": error.message, "type": error.kind, "code": error.graph_code}
    if error.subcode is not None:
        body["error_subcode"] = error.subcode
    if error.details is not None:
        body["error_data"] = {"messaging_product": "whatsapp", "details": error.details}
    body["fbtrace_id"] = f"A{base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip('=')}"
    headers = {} if error.retry_after_s is None else {"retry-after": str(round(error.retry_after_s))}
    return JSONResponse({"error": body}, error.http_status, headers=headers)
