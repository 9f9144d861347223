"""The house rules that a linter does not know: the size of folders, files and functions."""

import ast
import importlib
import sys
from collections import Counter

import pytest

from local.fleet import ROOT

PRODUCT = ("routing", "workers", "producers", "deploy", "src/forebay")
FILES = sorted(
    path
    for folder in PRODUCT
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.is_symlink() for part in (path, *path.parents))
)


def named(path):
    return str(path.relative_to(ROOT))


def test_the_rules_are_held_against_all_product_files():
    assert len(FILES) > 200
    assert {named(path).split("/")[0] for path in FILES} == {
        "routing", "workers", "producers", "deploy", "src",
    }  # fmt: skip


def test_no_folder_holds_more_than_twelve_python_files():
    folders = Counter(named(path.parent) for path in FILES if path.name != "__init__.py")
    assert {folder: n for folder, n in folders.items() if n > 12} == {}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_has_at_most_300_lines_and_a_function_50(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= 50
    ]
    assert long == []


def test_every_folder_of_tests_mirrors_a_room():
    rooms = {named(path.parent) for path in FILES}
    others = {
        "benchmarks",
        "chaos",
        "examples",
        "front_door",
        "fuzz",
        "gpu",
        "programs",
        "support",
        "whole",
    }
    folders = {
        named(path.parent).removeprefix("tests/")
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.parent.name != "tests"
    }
    assert folders - rooms - others == set()


def imports_of_ours(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("forebay"):
            yield from ((node.module, alias.name) for alias in node.names)


def is_there(module, name):
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


def test_programs_that_no_test_starts_import_what_there_is():
    programs = [path for path in (ROOT / "tests").rglob("*.py") if path.name[:5] != "test_"]
    missing = {
        f"{named(path)}: {module}.{name}"
        for path in programs
        for module, name in imports_of_ours(path)
        if not is_there(module, name)
    }
    assert missing == set()


def test_this_process_knows_each_file_by_one_name():
    assert {"routing", "workers", "producers"} & sys.modules.keys() == set()
