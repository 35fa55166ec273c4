"""`prompts.lock`: which text each released version of a prompt has, one line `id version sha256` each.

A version's text never changes: to change a prompt, raise its version and run `python -m prompts.lock`.
"""

import sys
from pathlib import Path

from core.errors import ChowkError
from prompts.loader import ROOT, PromptInvalid, prompts

LOCK = ROOT / "prompts.lock"


def read_lock(path: Path = LOCK) -> dict[tuple[str, str], str]:
    """The sha256 of every released version, by prompt id and version.

    Raises:
        PromptInvalid: a line is malformed.
    """
    released: dict[tuple[str, str], str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        parts = line.split()
        if len(parts) != 3:  # noqa: PLR2004  # id version sha256
            raise PromptInvalid(f"{path.name}: {line!r} is not a line `id version sha256`")
        released[parts[0], parts[1]] = parts[2]
    return released


def faults(released: dict[tuple[str, str], str]) -> list[str]:
    """What keeps the files and the lock from agreeing, one sentence each."""
    found: list[str] = []
    for prompt in prompts().values():
        locked = released.get((prompt.head.id, prompt.head.version))
        if locked is None:
            found.append(f"{prompt.head.id} {prompt.head.version} is not in prompts.lock: run python -m prompts.lock")
        elif locked != prompt.sha256:
            found.append(f"{prompt.head.id} {prompt.head.version} is released with other words: raise its version")
    return found


def lock(path: Path = LOCK) -> list[str]:
    """Add the versions that are new to the lock; gives their lines.

    Raises:
        PromptInvalid: a released version has other words now; nothing is written.
    """
    released = read_lock(path)
    changed = [fault for fault in faults(released) if "other words" in fault]
    if changed:
        raise PromptInvalid("; ".join(changed))
    present = {(prompt.head.id, prompt.head.version): prompt.sha256 for prompt in prompts().values()}
    added = sorted(present.keys() - released.keys())
    lines = [" ".join((*key, sha256)) for key, sha256 in sorted((released | present).items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [" ".join((*key, present[key])) for key in added]


def main() -> int:
    """Lock the new versions and say which; exit status 1 when a released one was changed."""
    try:
        added = lock()
    except ChowkError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write("".join(f"locked {line}\n" for line in added) or "nothing new to lock\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
