import pytest

from core.errors import (
    BodyTooLarge,
    Broken,
    ChowkError,
    Conflict,
    FenceLost,
    NotFound,
    Overloaded,
    ProviderRefused,
    ProviderUnclear,
    RequestInvalid,
    SettingInvalid,
)
from tools.refusals import error_of, is_final, refusal_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("no such payment"), NotFound),
        (Conflict("it was refunded"), Conflict),
        (BodyTooLarge("too much"), RequestInvalid),
        (SettingInvalid("no URL"), ChowkError),
        (Broken("a defect"), Broken),
        (ProviderRefused("no", remedy="person", provider_code="131047", retry_after_s=3.5), ProviderRefused),
    ],
)
def test_a_stored_refusal_is_raised_as_what_it_was(error: ChowkError, kind: type[ChowkError]) -> None:
    again = error_of(refusal_of(error))
    assert type(again) is kind
    assert again.message == error.message
    assert refusal_of(again) == refusal_of(error)
    assert is_final(error)


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnclear("no answer"),
        Overloaded("later"),
        FenceLost("taken over"),
        ProviderRefused("later", remedy="retry", provider_code="429"),
    ],
)
def test_what_may_end_otherwise_later_is_not_final(error: ChowkError) -> None:
    assert not is_final(error)
