import pytest

from channels.events import ProviderFault
from channels.whatsapp.errors import fault_of, remedy_of
from channels.whatsapp.payloads import WireError


@pytest.mark.parametrize(
    ("remedy", "codes"),
    [
        ("retry", [1, 2, 4, 80007, 130429, 131000, 131016, 131056, 131057, 133016]),
        ("person", [100, 130472, 131008, 131009, 131021, 131026, 131030, 131037, 131042, 131047, 131049, 131050]),
        ("person", [131051, 131052, 131062, 132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016]),
        ("stop", [0, 10, 190, 200, 250, 299, 368, 130497, 131005, 131031, 131045, 131048]),
    ],
)
def test_each_code_has_the_remedy_that_helps(remedy: str, codes: list[int]) -> None:
    assert {remedy_of(str(code)) for code in codes} == {remedy}


@pytest.mark.parametrize("code", ["", "300", "199", "999999", "-1", "0190", "none", "1" * 9_999])
def test_a_code_outside_the_table_has_no_remedy(code: str) -> None:
    assert remedy_of(code) is None


def test_an_error_of_a_webhook_is_a_fault_with_its_details() -> None:
    error = WireError.model_validate(
        {"code": 130429, "title": "Rate limit hit", "message": "Rate limit hit", "error_data": {"details": "Too many"}}
    )
    assert fault_of(error) == ProviderFault(code="130429", title="Rate limit hit", detail="Too many", remedy="retry")


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        ({}, ProviderFault(code="none", title="error none")),
        ({"code": 7}, ProviderFault(code="7", title="error 7")),
        ({"code": 7, "message": "seven"}, ProviderFault(code="7", title="seven")),
        ({"code": 7, "title": "Seven", "message": "seven"}, ProviderFault(code="7", title="Seven", detail="seven")),
        ({"code": 7, "title": "Seven", "error_data": "why"}, ProviderFault(code="7", title="Seven", detail="why")),
        ({"code": 7, "title": "Seven", "error_data": {}}, ProviderFault(code="7", title="Seven")),
    ],
)
def test_an_error_may_say_little(wire: dict[str, object], fault: ProviderFault) -> None:
    assert fault_of(WireError.model_validate(wire)) == fault
