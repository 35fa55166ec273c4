from pathlib import Path

import pytest

from core.errors import RequestInvalid
from evals.case import read_cases


def write(folder: Path, text: str, name: str = "a.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


GOOD = "- {id: one, tenant: asha, messages: [hi], expect: {action: greet}, tags: [x], stable: true}\n"


def test_cases_are_read_in_order_and_narrowed(tmp_path: Path) -> None:
    write(tmp_path, GOOD + GOOD.replace("one", "two").replace("asha", "nagar").replace("[x]", "[y]"))
    assert [case.id for case in read_cases(tmp_path)] == ["one", "two"]
    assert [case.id for case in read_cases(tmp_path, tenant="nagar")] == ["two"]
    assert [case.id for case in read_cases(tmp_path, tag="x")] == ["one"]


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("greet", "wave"),
        GOOD.replace("tenant: asha, ", ""),
        GOOD.replace("messages: [hi]", "messages: []"),
        GOOD.replace("stable: true", "stable: true, extra: 1"),
        GOOD.replace("id: one", "id: One Two"),
        "- {id: one",
        GOOD + GOOD,
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(RequestInvalid, match=r"a\.yaml"):
        read_cases(write(tmp_path, text))


def test_there_are_cases_for_the_demo_organisation() -> None:
    cases = read_cases(tenant="asha")
    assert len(cases) >= 10
    assert sum(case.stable for case in cases) >= 10
