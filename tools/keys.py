"""Keys of what must happen once: the same whenever the step that wants it is taken again, and for nothing else."""

import hashlib


def stable_key(*parts: str) -> str:
    """64 hex digits out of these parts, in this order. No id that a model made may be among them."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def node_path(checkpoint_namespace: str) -> str:
    """The path of nodes in a checkpoint namespace: `reply:5f2…|tools:9c1…` is `reply/tools`."""
    return "/".join(part.partition(":")[0] for part in checkpoint_namespace.split("|"))
