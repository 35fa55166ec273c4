from tools.keys import node_path, stable_key


def test_a_path_holds_no_ids() -> None:
    assert node_path("reply:5f2c-1|tools:9c1d-2") == "reply/tools"
    assert node_path("") == ""


def test_a_key_depends_on_every_part_and_its_place() -> None:
    assert len({stable_key(*parts) for parts in [("a", "b"), ("b", "a"), ("ab",), ("a", "b", ""), ("a",)]}) == 5
    assert len(stable_key("a")) == 64
