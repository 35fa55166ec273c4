from hypothesis import given
from hypothesis import strategies as st

from core.ids import RunId, TenantId
from graphs.effects import effect_key

WORDS = st.text(alphabet=st.sampled_from("ab/|\x1f"), max_size=4)
KEYS = st.tuples(WORDS, WORDS, WORDS, WORDS, st.integers(0, 3))


def key_of(parts: tuple[str, str, str, str, int]) -> str:
    tenant, run, path, slot, index = parts
    return effect_key(TenantId(tenant), RunId(run), path=path, slot=slot, index=index)


def test_the_key_of_an_effect_does_not_change_with_the_software() -> None:
    """A release that made other keys would send again what a run before it had queued."""
    assert key_of(("t_1", "run_1", "turn", "reply", 0)) == (
        "7a4d3019cee0a802ada19a126221bcbe60fc5af99b5c1a3eabb238900a72f8fa"
    )


@given(KEYS, KEYS)
def test_different_effects_have_different_keys(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    if not any("\x1f" in part for part in (*one[:4], *other[:4])):
        assert (key_of(one) == key_of(other)) == (one == other)
