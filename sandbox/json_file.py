"""Small JSON files that other processes read while we write them: always whole, never half a file."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import SettingInvalid

OWNER_ONLY = 0o600


def write_json(path: Path, value: Mapping[str, Any]) -> None:  # Any: JSON, checked by whoever reads it
    """Replace the file in one step; only its owner may read it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), OWNER_ONLY)
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:  # Any: JSON, checked by whoever reads it
    """The object in the file; empty where there is no file.

    Raises:
        SettingInvalid: the file cannot be read, or does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingInvalid(f"{path} cannot be read ({error.strerror}); start as the user that made it") from error
    except ValueError as error:
        raise SettingInvalid(f"{path} is not JSON ({error}); restore it, or start with --fresh") from error
    if not isinstance(value, dict):
        raise SettingInvalid(f"{path} holds a {type(value).__name__}, not an object; restore it, or use --fresh")
    return value
