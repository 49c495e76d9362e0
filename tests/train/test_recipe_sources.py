"""Sources of the recipes: every value of an experiment file says where it stands, and the cited lines say the value."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import train.conf

RECIPES = sorted((Path(train.conf.__file__).parent / "experiment").glob("*.yaml"))
CITED = json.loads((Path(__file__).parents[1] / "golden/recipe_sources.json").read_text())
"""Lines of the public code, by file and number, at one commit; ``VIDLOOM_PUBLIC_CODE=REPOSITORY`` compares them."""
VALUE = re.compile(r" +(?:- override /)?\w+: (?P<value>.*?)(?: +# (?P<source>.*))?")
PLACE = re.compile(r"(\S+)#L(\d+)")
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:e-?\d+)?")


def places(text):
    """Return what the header calls its sources: a name, and the file that it is of."""
    folder = re.search(r"below (InternVideo1/\S+):", text)
    named = dict(re.findall(r"^#   (\S+) = ([^\s,]+)", text, re.MULTILINE))
    return {name: f"{folder[1]}/{file}" for name, file in named.items() if name != "paper"} if folder else {}


def rows(text):
    """Return the lines that set something, as value and source."""
    told = [line for line in text.splitlines() if line.startswith(" ")]
    found = [VALUE.fullmatch(line) for line in told]
    assert all(found), [line for line, match in zip(told, found, strict=True) if not match]
    return [(match["value"], match["source"]) for match in found]


def says(value, line):
    """Tell whether a line has the value, or no number that could be it."""
    value = re.sub(r"\{\w+: (.*)\}", r"\1", value)
    wanted, numbers = NUMBER.findall(value), {float(each) for each in NUMBER.findall(line)}
    if not re.fullmatch(r"[\[\], \d.e-]+", value):
        return value in line
    return not numbers or {float(each) for each in wanted} <= numbers


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_value_says_where_it_stands(path):
    text = path.read_text()
    known = places(text)
    assert known or "paper = arXiv 2212.03191" in text
    for value, source in rows(text):
        assert source, f"{value} has no source"
        cited = PLACE.findall(source)
        assert cited or source == "its header" or source.startswith(("paper", "ours; "))
        assert "paper" not in source or "paper = arXiv" in text
        for name, number in cited:
            assert number in CITED["files"][known[name]]


@pytest.mark.parametrize("path", [path for path in RECIPES if places(path.read_text())], ids=lambda path: path.stem)
def test_cited_lines_say_the_value(path):
    text = path.read_text()
    assert f"commit {CITED['commit'][:8]}" in text
    known = places(text)
    for value, source in rows(text):
        cited = [CITED["files"][known[name]][number] for name, number in PLACE.findall(source)]
        # What is multiplied stands with its factors, and the table of published numbers has it.
        is_name = re.fullmatch(r"[a-z]\w*", value)
        if cited and not is_name and " x " not in source and not source.startswith("ours"):
            assert any(says(value, line) for line in cited), (value, cited)


def test_no_line_is_kept_that_nobody_cites():
    wanted = {
        (places(path.read_text())[name], number) for path in RECIPES for name, number in PLACE.findall(path.read_text())
    }
    assert wanted == {(file, number) for file, lines in CITED["files"].items() for number in lines}


@pytest.mark.skipif("VIDLOOM_PUBLIC_CODE" not in os.environ, reason="needs VIDLOOM_PUBLIC_CODE, a clone of InternVideo")
@pytest.mark.parametrize("file", CITED["files"])
def test_lines_are_those_of_the_public_code(file):
    shown = ["git", f"--git-dir={os.environ['VIDLOOM_PUBLIC_CODE']}", "show", f"{CITED['commit']}:{file}"]
    lines = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    assert CITED["files"][file] == {
        number: lines[int(number) - 1].rstrip("\\").strip() for number in CITED["files"][file]
    }
