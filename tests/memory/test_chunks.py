from hypothesis import given, settings
from hypothesis import strategies as st

from memory.chunks import CHUNK_WORDS_MAX, chunks_of

PIECES = (
    "the", "Mr.", "Rs.", "office", "Opens.", "at", "9.", "why?", "है।", "Adv.", "R.", "Heading:", "(see)", "end.)", "1.",
    "- item", "  ", "\n", "\n\n", "\r\n\r\n",
)  # fmt: skip
WORDS = st.one_of(st.sampled_from(PIECES), st.text(max_size=4))
BODIES = st.lists(WORDS, max_size=400).map(" ".join)


@given(BODIES)
@settings(max_examples=300, deadline=None)
def test_chunks_are_verbatim_in_order_and_together_the_whole_body(body: str) -> None:
    place = 0
    for chunk in chunks_of(body):
        start = body.index(chunk, place)
        assert body[place:start].strip() == ""
        assert chunk.strip() == chunk != ""
        place = start + len(chunk)
    assert body[place:].strip() == ""


@given(
    st.lists(st.lists(st.sampled_from(["word", "Name", "Rs. 500"]), min_size=1, max_size=60), min_size=1, max_size=12)
)
@settings(deadline=None)
def test_no_chunk_is_too_long_unless_one_sentence_is(sentences: list[list[str]]) -> None:
    written = [f"Then {' '.join(words)} again." for words in sentences]
    chunks = chunks_of(" ".join(written))
    longest = max(len(sentence.split()) for sentence in written)
    assert max(len(chunk.split()) for chunk in chunks) <= max(CHUNK_WORDS_MAX, longest)
    assert all(chunk.endswith("again.") and chunk.startswith("Then") for chunk in chunks)


def test_each_paragraph_is_a_chunk() -> None:
    assert chunks_of("One thing.\n\nAnother thing.\n \nA third.") == ["One thing.", "Another thing.", "A third."]


def test_a_heading_stays_with_what_it_heads() -> None:
    body = "## Timings\n\nWe open at nine.\n\nBring these papers:\n\n- a photo\n- an ID"
    assert chunks_of(body) == ["## Timings\n\nWe open at nine.", "Bring these papers:\n\n- a photo\n- an ID"]


def test_a_heading_at_the_end_is_kept() -> None:
    assert chunks_of("We open at nine.\n\nSee also") == ["We open at nine.", "See also"]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    sentence = "Every donor who gave at least Rs. 500 to Adv. R. Subramaniam gets a letter in May."
    chunks = chunks_of(" ".join([sentence] * 20))
    assert [len(chunk.split()) <= CHUNK_WORDS_MAX for chunk in chunks] == [True] * 3
    assert all(chunk.startswith("Every donor") and chunk.endswith("in May.") for chunk in chunks)


def test_a_sentence_that_runs_over_several_lines_is_not_cut() -> None:
    lines = "\n".join(["and so it goes on for many words without any end"] * 15)
    assert chunks_of(f"It begins\n{lines}.") == [f"It begins\n{lines}."]


def test_hindi_sentences_end_at_a_danda() -> None:
    sentence = "रसीद " * 49 + "मिलती है।"
    assert chunks_of(" ".join([sentence] * 4)) == [f"{sentence} {sentence}"] * 2


def test_an_empty_body_has_no_chunk() -> None:
    assert chunks_of(" \n\n ") == []
