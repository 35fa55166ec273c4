"""Interactive messages, checked: up to three reply buttons, or a list of up to ten rows in sections."""

from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.emulator.graph_errors import GraphError, missing, not_valid, too_long

#: By type; from the pages on interactive reply buttons and interactive lists.
BODY_CHARS_MAX = {"button": 1024, "list": 4096}
HEADER_CHARS_MAX = 60
FOOTER_CHARS_MAX = 60
BUTTONS_MAX = 3
BUTTON_ID_CHARS_MAX = 256
BUTTON_TITLE_CHARS_MAX = 20
OPEN_LABEL_CHARS_MAX = 20
SECTIONS_MAX = 10
SECTION_TITLE_CHARS_MAX = 24
ROWS_MAX = 10
ROW_ID_CHARS_MAX = 200
ROW_TITLE_CHARS_MAX = 24
ROW_DESCRIPTION_CHARS_MAX = 72

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """A button or a row."""

    id: str
    title: str
    description: str | None = None
    section: str | None = None


@dataclass(frozen=True, slots=True)
class Interactive:
    """What a person sees: words, and either buttons or a list behind `open_label`."""

    body: str
    header: str | None
    footer: str | None
    buttons: tuple[Choice, ...] = ()
    open_label: str | None = None
    rows: tuple[Choice, ...] = ()


def interactive_content(interactive: Json) -> Interactive:
    """Check the `interactive` object.

    Raises:
        GraphError: as Meta would refuse it.
    """
    kind = str(interactive.get("type"))
    if kind not in BODY_CHARS_MAX:
        raise GraphError("(#100) Param interactive['type'] must be one of {BUTTON, LIST}.", code=100)
    body = _text(_part(interactive, "body"), "text", "interactive['body']['text']", BODY_CHARS_MAX[kind])
    header = _header(interactive.get("header"))
    footer = _footer(interactive.get("footer"))
    action = _part(interactive, "action")
    if kind == "button":
        return Interactive(body, header, footer, buttons=_buttons(action.get("buttons")))
    label = _text(action, "button", "interactive['action']['button']", OPEN_LABEL_CHARS_MAX)
    return Interactive(body, header, footer, open_label=label, rows=_rows(action.get("sections")))


def _buttons(buttons: object) -> tuple[Choice, ...]:
    if not isinstance(buttons, list) or not buttons:
        raise missing("interactive['action']['buttons']")
    if len(buttons) > BUTTONS_MAX:
        raise not_valid(f"Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: {BUTTONS_MAX}")
    choices: list[Choice] = []
    for index, button in enumerate(buttons):
        where = f"interactive['action']['buttons'][{index}]"
        reply = button.get("reply") if isinstance(button, dict) and button.get("type") == "reply" else None
        if not isinstance(reply, dict):
            raise missing(f"{where}['reply']")
        button_id = _text(reply, "id", f"{where}['reply']['id']", BUTTON_ID_CHARS_MAX)
        choices.append(Choice(button_id, _title(reply, f"{where}['reply']['title']", "Button", BUTTON_TITLE_CHARS_MAX)))
    _refuse_twins("button", (choice.id for choice in choices))
    return tuple(choices)


def _rows(sections: object) -> tuple[Choice, ...]:
    if not isinstance(sections, list) or not sections:
        raise missing("interactive['action']['sections']")
    if len(sections) > SECTIONS_MAX:
        raise not_valid(f"Section count exceed max allowed count: {SECTIONS_MAX}")
    rows = [row for index, section in enumerate(sections) for row in _section(section, index, count=len(sections))]
    if not rows:
        raise missing("interactive['action']['sections'][0]['rows']")
    if len(rows) > ROWS_MAX:
        raise not_valid(f"Total row count exceed max allowed count: {ROWS_MAX}")
    _refuse_twins("row", (row.id for row in rows))
    return tuple(rows)


def _section(section: object, index: int, *, count: int) -> list[Choice]:
    where = f"interactive['action']['sections'][{index}]"
    if not isinstance(section, dict) or not isinstance(section.get("rows"), list):
        raise missing(f"{where}['rows']")
    title = None
    if count > 1 or section.get("title"):
        title = _title(section, f"{where}['title']", "Section", SECTION_TITLE_CHARS_MAX)
    return [_row(row, f"{where}['rows'][{place}]", title) for place, row in enumerate(section["rows"])]


def _row(row: object, where: str, section: str | None) -> Choice:
    if not isinstance(row, dict):
        raise missing(where)
    description = row.get("description")
    if len(str(description or "")) > ROW_DESCRIPTION_CHARS_MAX:
        raise too_long(f"{where}['description']", ROW_DESCRIPTION_CHARS_MAX)
    return Choice(
        _text(row, "id", f"{where}['id']", ROW_ID_CHARS_MAX),
        _title(row, f"{where}['title']", "Row", ROW_TITLE_CHARS_MAX),
        str(description) if description else None,
        section,
    )


def _header(header: object) -> str | None:
    if header is None:
        return None
    if not isinstance(header, dict) or header.get("type") != "text":
        raise GraphError("(#100) Param interactive['header']['type'] must be one of {TEXT}.", code=100)
    return _text(header, "text", "interactive['header']['text']", HEADER_CHARS_MAX)


def _footer(footer: object) -> str | None:
    if footer is None:
        return None
    if not isinstance(footer, dict):
        raise missing("interactive['footer']['text']")
    return _text(footer, "text", "interactive['footer']['text']", FOOTER_CHARS_MAX)


def _part(parent: Json, name: str) -> Json:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise missing(f"interactive['{name}']")
    return value


def _text(parent: Json, name: str, parameter: str, chars_max: int) -> str:
    value = parent.get(name)
    if not isinstance(value, str) or not value.strip():
        raise missing(parameter)
    if len(value) > chars_max:
        raise too_long(parameter, chars_max)
    return value


def _title(parent: Json, parameter: str, what: str, chars_max: int) -> str:
    value = parent.get("title")
    if not isinstance(value, str) or not value.strip():
        raise missing(parameter)
    if len(value) > chars_max:
        raise not_valid(f"{what} title length invalid. Min length: 1, Max length: {chars_max}")
    return value


def _refuse_twins(what: str, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for choice_id in ids:
        if choice_id in seen:
            raise not_valid(f"Duplicated {what} id: {choice_id}")
        seen.add(choice_id)
