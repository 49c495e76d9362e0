"""What the words after ``vidloom bench`` mean: commands stay commands, other names are benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

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


SLOW_TO_TIDY = """
import os, pathlib, time
try:
    pathlib.Path("begun").write_text(str(os.getpid()))
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    pathlib.Path("tidy").touch()
    raise SystemExit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_waits_until_all_is_tidy(tmp_path, number):
    """Servers and folders of the benchmark that runs are to be gone, which takes a while."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/__main__.py").write_text(SLOW_TO_TIDY)
    code = "import pathlib, signal, sys, typer\n"
    code += "from tools.bench.checkout import run_benchmarks\nfrom tools.console import command\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"try: command(lambda: run_benchmarks(['all'], pathlib.Path({str(tmp_path)!r})))()\n"
    code += "except typer.Exit as ended: sys.exit(ended.exit_code)"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=checkout.ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(30) == 130
        assert process.stderr.read() == ""
    assert (tmp_path / "tidy").exists()


def test_help_says_how():
    said = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "160"}).stdout
    assert "bench NAME...|all" in said
