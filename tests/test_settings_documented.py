"""`.env.example` names every setting, with its meaning and a value that the product takes."""

import base64
import re
from pathlib import Path

import pytest

from core.settings import GROUPS, load

EXAMPLE = Path(__file__).parent.parent / ".env.example"


def settings_of_the_code() -> dict[str, str]:
    """The default of every variable; "" where there is none."""
    found: dict[str, str] = {}
    for group in GROUPS:
        for field in group.model_fields.values():
            assert field.alias is not None
            default = field.get_default()
            shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
            found[field.alias] = "" if field.is_required() or shown is None else str(shown)
    return found


def settings_of_the_example() -> dict[str, tuple[str, str]]:
    """Each variable's comment and value. Variables that stand together share the comment above them."""
    found: dict[str, tuple[str, str]] = {}
    for block in EXAMPLE.read_text(encoding="utf-8").split("\n\n"):
        lines = block.strip().splitlines()
        comment = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        for line in lines:
            if not line.startswith("#"):
                name, separator, value = line.partition("=")
                assert separator, f"{line!r} is neither a comment nor NAME=value"
                assert name not in found, f"{name} stands twice"
                found[name] = (comment, value)
    return found


def test_the_example_names_every_setting_and_no_other() -> None:
    assert set(settings_of_the_example()) == set(settings_of_the_code())


def test_every_setting_has_its_meaning_beside_it() -> None:
    assert [name for name, (comment, _) in settings_of_the_example().items() if len(comment) < 30] == []


def test_the_example_shows_the_defaults() -> None:
    example = {name: value for name, (_, value) in settings_of_the_example().items()}
    defaults = {name: default for name, default in settings_of_the_code().items() if default}
    assert {name: as_number(example[name]) for name in defaults} == {
        name: as_number(default) for name, default in defaults.items()
    }


def test_every_value_of_the_example_is_one_that_the_product_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (_, value) in settings_of_the_example().items():
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHOWK_SECRET_KEY", base64.b64encode(bytes(32)).decode())
    for group in GROUPS:
        load(group)


def as_number(value: str) -> float | str:
    return float(value) if re.fullmatch(r"[\d.]+", value) else value
