"""Small rooms: what the linters do not say about the shape of the house."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED = re.compile(r"manager|helper|utils?(?![a-z])|handler|processor|(?<![a-z])misc", re.IGNORECASE)


def sources(*suffixes: str) -> list[Path]:
    folders = ("broker", "clients", "bench", "tests", "deploy")
    found = (path for folder in folders for suffix in suffixes for path in (ROOT / folder).rglob(f"*{suffix}"))
    return sorted(p for p in found if not {"v1", "__pycache__"} & set(p.parts) and ".egg-info" not in str(p))


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


@pytest.mark.parametrize("path", sources(".py", ".lua", ".sh"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", sources(".py"), ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_fit_a_screen_and_names_say_something(path: Path) -> None:
    for node in definitions(path):
        if not isinstance(node, ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name} has {lines} lines"
        assert not BANNED.search(node.name), node.name
    assert not BANNED.search(path.stem)


@pytest.mark.parametrize("path", sources(".py"), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_test_sleeps(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if "tests" not in parts or "simulator" in parts:  # whose time is virtual
        return
    text = path.read_text()
    assert not re.search(r"\btime\.sleep\(", text)
    for match in re.finditer(r"asyncio\.sleep\(([^)]*)\)", text):
        assert float(match[1]) <= 0.01, "a poll is short; anything longer is a sleep"


def modules() -> list[str]:
    found = (p.relative_to(ROOT).with_suffix("") for p in sources(".py") if p.relative_to(ROOT).parts[0] == "broker")
    names = (".".join(path.parts).removesuffix(".__init__") for path in found)
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_a_module_exports_what_it_says_and_documents_it(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in getattr(module, "__all__", ()):
        thing = getattr(module, public)
        if isinstance(thing, type | FunctionType):
            assert thing.__doc__, f"{name}.{public} has no docstring"
