"""The budgets of the source hold: sizes of files and functions, branches, names, opening docstrings, imports."""

from __future__ import annotations

import ast
import statistics
from functools import cache
from pathlib import Path

import pytest

from tests.support.file_map import PACKAGES, ROOT, source_files

FILE_LINES = 400
FUNCTION_LINES = 60
BRANCHES = 10
BRANCHY_SHARE = 0.03
FAN_OUT = 12
TESTS_TO_CODE = 0.8
EMPTY_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
OPTIONAL_HEAVY = {"nvidia", "xformers", "av", "torch", "ray", "wandb", "cv2", "scenedetect"} | {
    "datasketch",
    "imagehash",
    "py3langid",
    "s3fs",
}
_BRANCH = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.BoolOp, ast.comprehension, ast.Assert)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

every_file = pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(ROOT).as_posix())


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions_of(path):
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, _FUNCTION)]


def all_functions():
    return [(path, node) for path in source_files() for node in functions_of(path)]


def length(node):
    return node.end_lineno - node.lineno + 1


@every_file
def test_file_opens_with_one_sentence(path):
    docstring = ast.get_docstring(tree_of(path), clean=False) or ""
    first, _, rest = docstring.partition("\n")
    assert first.strip(), f"{path} has no docstring that says what the file is for"
    assert first.endswith("."), f"{path}: the opening line is one whole sentence"
    assert not rest or rest.startswith("\n"), f"{path}: a blank line follows the opening line"


@every_file
def test_file_and_its_functions_are_short(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES, f"{path} has {lines} lines"
    long = {node.name: length(node) for node in functions_of(path) if length(node) > FUNCTION_LINES}
    assert not long, f"{path}: {long}"


@every_file
def test_name_says_what_it_is(path):
    assert not EMPTY_NAMES & set(path.relative_to(ROOT).with_suffix("").parts)


@every_file
def test_imports_stand_at_the_top(path):
    inside = {
        name.split(".")[0] for function in functions_of(path) for node in ast.walk(function) for name in _imported(node)
    }
    assert inside <= OPTIONAL_HEAVY | _lazy_doors(path), f"{path} imports {inside} inside a function"


def test_medians_and_branches():
    sizes = [path.read_text(encoding="utf-8").count("\n") for path in source_files() if path.name != "__init__.py"]
    assert statistics.median(sizes) < 200
    functions = all_functions()
    assert statistics.median(length(node) for _, node in functions) < 12
    branchy = [
        f"{path.name}:{node.name}"
        for path, node in functions
        if 1 + sum(isinstance(inner, _BRANCH) for inner in ast.walk(node)) > BRANCHES
    ]
    assert len(branchy) <= BRANCHY_SHARE * len(functions), branchy


def test_fan_out_and_cycles():
    graph = {path: _own_imports(path) for path in source_files()}
    assert not {path.name: len(to) for path, to in graph.items() if len(to) > FAN_OUT}
    assert not [path for path in graph if path in _reach(graph, path)]


def test_there_is_enough_test_code():
    def count(paths):
        return sum(path.read_text(encoding="utf-8").count("\n") for path in paths)

    assert count((ROOT / "tests").rglob("*.py")) >= TESTS_TO_CODE * count(source_files())


def _imported(node):
    """Return the full names of what one import statement brings."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _lazy_doors(path):
    """A program may import its parts when it runs, so that --help and wrong usage do not wait for heavy packages."""
    doors = {"tools/__main__.py": {"tools", "shards"}, "train/__main__.py": {"train"}}
    doors |= {"tools/bench/commands.py": {"tools"}, "tools/state_commands.py": {"tools"}}
    place = path.relative_to(ROOT)
    if place.is_relative_to("train/apply"):
        return {"train", "pipelines", "model"}
    return doors.get(place.as_posix(), set())


def _own_imports(path):
    """Return the files of ours that a file's top-level statements import."""
    found = set()
    for name in (name for node in tree_of(path).body for name in _imported(node)):
        parts = name.split(".")
        if parts[0] not in PACKAGES:
            continue
        while parts:
            module = ROOT.joinpath(*parts)
            hits = [each for each in (module.with_suffix(".py"), module / "__init__.py") if each.is_file()]
            if hits:
                found.add(Path(hits[0]))
                break
            parts.pop()
    return found - {path}


def _reach(graph, start):
    seen, todo = set(), list(graph[start])
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += graph[path]
    return seen
