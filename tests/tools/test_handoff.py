from tools.handoff import hand_off_summary


def test_a_colleague_reads_the_persons_own_words_and_what_was_looked_at() -> None:
    summary = hand_off_summary(["Where is\nmy receipt?", ""], earlier=["I gave 500"], titles=["Receipts", "Receipts"])
    assert summary == (
        "Customer: I gave 500\nCustomer: Where is my receipt?\nCustomer: (a file without words)\nLooked at: Receipts"
    )


def test_a_long_conversation_is_cut_to_its_end() -> None:
    summary = hand_off_summary(["x" * 1000], earlier=[f"message {number}" for number in range(20)])
    lines = summary.splitlines()
    assert len(lines) == 6
    assert lines[0] == "Customer: message 15"
    assert lines[-1] == f"Customer: {'x' * 300}…"
