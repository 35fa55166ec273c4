"""The commits of the product, read from its code: the names that openers are given, and the fault points between."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
OPENERS = frozenset({"tenant_tx", "queue_tx", "edge_tx", "edge_insert"})
#: They commit nothing of the product's.
OUTSIDE = frozenset({"bench", "sandbox", "evals"})


def commits_in_the_code() -> set[str]:
    """Every name under which the product commits; fails on one that is not written out where it is used."""
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    return {
        name
        for package in packages
        if package not in OUTSIDE
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for name in _commits(path)
    }


def _commits(path: Path) -> Iterator[str]:
    if path.relative_to(REPOSITORY).as_posix() == "db/transactions.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in OPENERS:
            named = next((keyword.value for keyword in node.keywords if keyword.arg == "commit"), None)
            assert isinstance(named, ast.Constant), f"{path}:{node.lineno}: write the commit's name out"
            yield str(named.value)
        elif node.func.id == "fault":
            point = node.args[0]
            assert isinstance(point, ast.Constant), f"{path}:{node.lineno}: write the fault point's name out"
            yield str(point.value).rpartition(".")[0]
