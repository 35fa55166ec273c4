"""The house rules that a program can check."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

from core.settings import GROUPS

REPOSITORY = Path(__file__).parent.parent.parent
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED_STEMS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
ROOT_PACKAGES = [
    "agents", "api", "bench", "channels", "checkpoints", "cli", "core", "db", "evals", "graphs", "inbox", "memory",
    "models", "outbox", "prompts", "rest", "sandbox", "tools", "worker",
]  # fmt: skip
#: The only files that may end a transaction: the openers, and the administrator's migrations.
COMMITTERS = {"db/transactions.py"}


def tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    files = (REPOSITORY / line for line in listed.splitlines())
    return [path for path in files if path.suffix in suffixes and path.is_file()]


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def product_files() -> list[Path]:
    return [path for path in tracked(".py") if relative(path).split("/")[0] in ROOT_PACKAGES]


def test_no_file_is_longer_than_the_wall() -> None:
    lengths = {relative(path): path.read_text().count("\n") for path in tracked(".py")}
    assert {
        name: length for name, length in lengths.items() if length > FILE_LINES_MAX and "fixtures" not in name
    } == {}


def test_no_function_is_longer_than_the_wall() -> None:
    long: dict[str, int] = {}
    for path in tracked(".py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{relative(path)}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [relative(path) for path in tracked(".py") if path.stem in BANNED_STEMS] == []


@pytest.mark.parametrize("package", ROOT_PACKAGES)
def test_every_root_package_is_ours(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).is_relative_to(REPOSITORY)


def test_only_the_openers_commit() -> None:
    ends_a_transaction = re.compile(r"""\.commit\(|["']\s*COMMIT\b|autocommit\s*=\s*False""")
    found = {
        relative(path)
        for path in product_files()
        if ends_a_transaction.search(path.read_text()) and not relative(path).startswith(("bench/", "sandbox/"))
    }
    assert found <= COMMITTERS


def test_every_opener_call_names_its_fault_point() -> None:
    unnamed: list[str] = []
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                opens = node.func.id in ("tenant_tx", "edge_tx", "queue_tx")
                if opens and not any(keyword.arg == "commit" for keyword in node.keywords):
                    unnamed.append(f"{relative(path)}:{node.lineno}")
    assert unnamed == []


def test_graphs_are_streamed_in_one_place() -> None:
    advances = re.compile(r"\.(?:astream|ainvoke|invoke|stream)\(")
    callers = {
        relative(path)
        for path in product_files()
        if relative(path).startswith(("graphs/", "api/", "worker/")) and advances.search(path.read_text())
    }
    assert callers == {"graphs/advance.py"}


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"^#?\s?([A-Z][A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    settings = {field.alias for group in GROUPS for field in group.model_fields.values()}
    assert settings - documented == set()


def test_torch_is_nowhere() -> None:
    lock = (REPOSITORY / "uv.lock").read_text()
    assert re.search(r'^name = "(?:torch|sentence-transformers)"', lock, re.MULTILINE) is None
    assert importlib.util.find_spec("torch") is None


def test_importing_the_product_does_no_work() -> None:
    """Modules may be imported anywhere, so none may need a setting, a server or a file when they are."""
    names = ", ".join(f"{package}" for package in ROOT_PACKAGES)
    subprocess.run(
        [".venv/bin/python", "-W", "error", "-c", f"import {names}"],
        cwd=REPOSITORY, check=True, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_links_in_the_documents_lead_somewhere() -> None:
    documents = [
        path
        for path in tracked(".md")
        if "knowledge" not in relative(path) and not relative(path).startswith("prompts/")
    ]
    broken = [
        f"{relative(path)} -> {target}"
        for path in documents
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text())
        if not target.startswith(("http:", "https:", "mailto:")) and not (path.parent / target).exists()
    ]
    assert broken == []
