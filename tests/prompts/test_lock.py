from pathlib import Path

import pytest

from prompts.loader import PromptInvalid, prompts
from prompts.lock import faults, lock, read_lock


def test_every_prompt_is_locked_with_the_words_it_has() -> None:
    assert faults(read_lock()) == []


def test_a_released_version_with_other_words_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "prompts.lock"
    prompt = prompts()["reply/answer"]
    path.write_text(f"reply/answer {prompt.head.version} {'0' * 64}\n")
    assert any("raise its version" in fault for fault in faults(read_lock(path)))
    with pytest.raises(PromptInvalid, match="raise its version"):
        lock(path)
    assert "0" * 64 in path.read_text()


def test_locking_adds_what_is_new_and_keeps_what_was_released(tmp_path: Path) -> None:
    path = tmp_path / "prompts.lock"
    path.write_text(f"reply/answer 0.1.0 {'1' * 64}\n")
    assert len(lock(path)) == len(prompts())
    assert read_lock(path)["reply/answer", "0.1.0"] == "1" * 64
    assert faults(read_lock(path)) == []
    assert lock(path) == []


def test_a_malformed_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "prompts.lock"
    path.write_text("reply/answer 1.0.0\n")
    with pytest.raises(PromptInvalid, match=r"prompts\.lock"):
        read_lock(path)
