import re

from core.errors import FenceLost, NotFound
from core.ids import is_id, new_id
from core.telemetry import trace_id_from


def test_ids_sort_by_the_time_they_were_made_and_are_safe_as_names() -> None:
    ids = [new_id("run") for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"[a-z0-9_]{1,64}", name) and is_id(name, "run") for name in ids)


def test_what_is_not_an_id_of_ours_is_not_taken_for_one() -> None:
    for text in ("", "run_", "t_../x", 'run_"; --', new_id("run").upper(), new_id("msg")):
        assert not is_id(text, "run")


def test_an_error_has_a_stable_name() -> None:
    assert (FenceLost("x").code, NotFound("x").code, NotFound("x").status) == ("fence_lost", "not_found", 404)


def test_a_trace_goes_on_from_its_header_and_begins_where_there_is_none() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace_id_from(f"00-{trace}-00f067aa0ba902b7-01") == trace
    for header in (None, "", "nonsense", f"00-{trace}", f"00-{trace.upper()}-00f067aa0ba902b7-01"):
        assert re.fullmatch("[0-9a-f]{32}", trace_id_from(header))
