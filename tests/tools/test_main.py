"""The command line: what it takes, what it refuses, and that every command's help shows an example."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from typer.testing import CliRunner

from tests.support.small_corpus import write_corpus
from tools import __main__ as door
from tools.corpus.encode import RECIPES
from tools.corpus.executor import ExecutorChoice
from tools.corpus.pool import ROW_SECONDS
from tools.shard_options import PresetName
from tools.shard_watchers import Watchers


def call(*args):
    return CliRunner().invoke(door.app, [str(arg) for arg in args])


@pytest.mark.parametrize("name", ["shard", "stats", "verify", "tokenizer", "train", "convert", "demo"])
def test_help_shows_an_example(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    assert f"Example: vidloom {name}" in result.output


def test_the_help_lists_all_commands():
    output = call("--help").output
    assert all(name in output for name in ("shard", "stats", "verify", "tokenizer", "train", "convert", "demo"))


@pytest.mark.parametrize("args", [["eval", "--help"], ["eval", "retrieval", "set", "--model", "m", "--dual"], ["eval"]])
def test_what_models_are_used_for_is_passed_on_whole(args, monkeypatch):
    taken = []
    monkeypatch.setattr("tools.__main__.os.execv", lambda *program: taken.append(program))
    assert call(*args).exit_code == 0
    assert taken == [(sys.executable, [sys.executable, "-m", "train.apply", *args])]
    assert "eval" in call("--help").output


def test_options_reach_the_run(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr("tools.shard.run_shard", lambda request, **how: taken.append((request, how)) or 0)
    result = call(
        "shard", "in.csv", tmp_path, "--video-col", "v", "--caption-col", "c", "--start-col", "s", "--end-col", "e",
        "--root", "r", "--workers", 3, "--preset", "train", "--short-side", 128, "--shard-size", "1MiB", "--limit", 5,
        "--min-seconds", 1, "--max-seconds", 9, "--allow-outside", "--row-timeout", 7, "--json",
        "--executor", "ray", "--ray-address", "auto", "--worker-memory", "1GiB", "--log", "l", "--wandb", "p",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    ((request, how),) = taken
    assert how == {"as_json": True, "watchers": Watchers("l", "p"), "index": ""}
    assert request.choice == ExecutorChoice("ray", 3, "auto", 7.0, 1 << 30)
    assert (request.input, request.out, request.root, request.workers) == ("in.csv", str(tmp_path), "r", 3)
    assert (request.columns.video, request.columns.caption) == ("v", "c")
    assert (request.columns.start, request.columns.end) == ("s", "e")
    assert (request.cut.preset, request.cut.short_side) == ("train", 128)
    assert (request.shard_bytes, request.limit, request.min_seconds, request.max_seconds) == (1 << 20, 5, 1.0, 9.0)
    assert (request.allow_outside, request.row_seconds) == (True, 7.0)


def test_a_dry_run_is_none_of_the_other(monkeypatch):
    taken = []
    monkeypatch.setattr("tools.shard_plan.run_dry", lambda request, **how: taken.append(request.input) or 0)
    monkeypatch.setattr("tools.shard.run_shard", pytest.fail)
    assert call("shard", "in.csv", "out", "--dry-run").exit_code == 0
    assert len(taken) == 1


def test_defaults_are_those_of_the_parts(monkeypatch):
    taken = []
    monkeypatch.setattr("tools.shard.run_shard", lambda request, **how: taken.append(request) or 0)
    call("shard", "in.csv", "out")
    (request,) = taken
    assert (request.row_seconds, request.shard_bytes) == (ROW_SECONDS, 256 << 20)
    assert (request.cut.preset, request.allow_outside, request.root) == ("copy", False, None)
    assert (request.workers, request.executor, request.ray_address) == (None, "local", None)
    assert request.choice == ExecutorChoice(workers=None)
    assert set(get_args(PresetName)) == {"copy", *RECIPES}


@pytest.mark.parametrize(
    "args",
    [
        ["shard", "in.csv"],
        ["shard", "in.csv", "out", "--preset", "best"],
        ["shard", "in.csv", "out", "--workers", "many"],
        ["shard", "in.csv", "out", "--workers", "0"],
        ["shard", "in.csv", "out", "--shard-size", "big"],
        ["shard", "in.csv", "out", "--ray-address", "auto"],
        ["shard", "in.csv", "out", "--worker-memory", "1MiB"],
        ["shard", "in.csv", "out", "--row-timeout", "nan"],
        ["shard", "in.csv", "out", "--log", "none/log"],
        ["shard", "in.csv", "out", "--log", "log", "--dry-run"],
        ["shard", "in.csv", "out", "--retry", "damaged", "--dry-run"],
        ["shard", "in.csv", "out", "--short-side", "128"],
        ["shard", "none.csv", "out"],
        ["shard", "s3://", "out"],
        ["shard", "corpus.csv", "out", "--executor", "ray", "--ray-address", "127.0.0.1:9"],
        ["stats", "none"],
        ["verify", "none"],
        ["weave"],
    ],
)
def test_wrong_usage_ends_with_status_2_and_a_word_about_it(tmp_path, monkeypatch, args):
    monkeypatch.chdir(tmp_path)
    result = call(*args)
    assert result.exit_code == 2
    assert result.output.strip()
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "missing"), [([], "INPUT"), (["in.csv"], "OUT")])
def test_the_argument_that_is_missing_is_named(given, missing):
    result = call("shard", *given)
    assert result.exit_code == 2
    assert f"Missing argument '{missing}'" in result.output


def test_a_root_that_is_no_folder_is_wrong_usage(tmp_path):
    table = write_corpus(tmp_path, videos=1)
    result = call("shard", table, tmp_path / "out", "--root", tmp_path / "none")
    assert (result.exit_code, "is no folder" in result.output) == (2, True)
    assert not (tmp_path / "out").exists()


def test_train_becomes_the_training_program(monkeypatch):
    taken = []
    monkeypatch.setattr(door.os, "execv", lambda path, args: taken.append((path, args)))
    call("train", "stage=mvm", "out=x", "--help-me", "optim.lr=1e-3")
    args = ["-m", "train", "stage=mvm", "out=x", "--help-me", "optim.lr=1e-3"]
    assert taken == [(sys.executable, [sys.executable, *args])]


def test_the_module_runs_and_loads_nothing_heavy_for_its_help():
    code = "import sys, tools.__main__; print([n for n in ('torch', 'av', 'pyarrow', 's3fs') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_sharding_loads_no_torch_and_without_a_bucket_no_client_for_one():
    code = "import sys, tools.shard; print([n for n in ('torch', 's3fs', 'aiohttp') if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("words", [["shard", "a.csv", "out", "--preset", "mjpg"], ["index", "a.tar", "--keys", "mjpg"]])
def test_a_word_that_is_not_taken_is_told_with_those_that_are(words):
    told = CliRunner().invoke(door.app, words)
    assert told.exit_code == 2
    assert "'mjpg' is not one of" in told.stderr
    assert "Value error" not in told.stderr
