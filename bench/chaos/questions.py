"""What the strangers ask: for each organisation questions that its articles answer, and some that nobody wrote about.

Those that are answered are answered alone, and any of one organisation together, so that a burst of them is answered
however it falls into turns.
"""

from collections.abc import Mapping

from bench.chaos.schedule import Organisation

ANSWERED: Mapping[Organisation, tuple[str, ...]] = {
    "asha": (
        "Can I get a tax receipt for my donation?",
        "How can I volunteer with you?",
        "What are your office timings?",
        "Can I donate old clothes?",
        "What is your UPI ID?",
        "My name is wrong on the receipt",
        "What is the minimum donation?",
        "Is police verification needed for volunteers?",
    ),
    "nagar": (
        "Can I take a test ride?",
        "How do I claim warranty?",
        "What papers are needed for exchange?",
        "What is the roadside assistance number?",
        "Are your spare parts original?",
        "How do I renew my bike insurance?",
        "Where is your showroom?",
    ),
}
UNANSWERED = ("What is the meaning of life?", "what is the score in the india australia match")
