"""What the words after ``vidloom bench`` mean: commands stay commands, other names are benchmarks."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tools.__main__ import app
from tools.bench import checkout
from tools.bench.routing import route

COMMANDS = ("loader", "sizing", "run")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("all", "run all"),
        ("decode loader --quick", "run decode loader --quick"),
        ("run decode", "run decode"),
        ("loader", "run loader"),
        ("loader --quick", "run loader --quick"),
        ("loader --out=here", "run loader --out=here"),
        ("loader s3://bucket/set batch_size=8", "loader s3://bucket/set batch_size=8"),
        ("loader --seconds 5 dataset", "loader --seconds 5 dataset"),
        ("loader --help", "loader --help"),
        ("sizing --gpus 8", "sizing --gpus 8"),
        ("--help", "--help"),
        ("", ""),
    ],
)
def test_words_mean_commands_or_benchmarks(words, meant):
    assert route(words.split(), COMMANDS) == meant.split()


def test_names_reach_the_checkout(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(checkout, "run_benchmarks", lambda given: seen.append(given) or 1)
    told = CliRunner().invoke(app, ["bench", "decode", "loader", "--quick", "--out", str(tmp_path)])
    assert told.exit_code == 1
    assert seen == [["decode", "loader", f"--out={tmp_path}", "--quick"]]


@pytest.mark.parametrize(
    ("given", "handed_on"), [("peers/bin/python", "{}/peers/bin/python"), ("python3", "python3"), ("/a/b", "/a/b")]
)
def test_the_interpreter_of_peers_is_found_from_where_it_was_named(monkeypatch, tmp_path, given, handed_on):
    """The benchmarks run in the checkout, wherever the command was given."""
    seen = []
    monkeypatch.setattr(checkout, "run_benchmarks", lambda told: seen.append(told) or 0)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["bench", "probe", "--peer-python", given]).exit_code == 0
    assert seen == [["probe", f"--peer-python={handed_on.format(tmp_path)}"]]


def test_help_says_how():
    said = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "160"}).stdout
    assert "bench NAME...|all" in said
