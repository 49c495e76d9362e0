"""``vidloom eval`` as a person meets it: help, tables, JSON, files, exit status, one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from pipelines.part_settings import ViewConfig
from tests.support.evaluated import NAMES, build_evaluated, save_model
from train.apply import console
from train.apply.__main__ import app
from train.evaluate.attentive_probe import AttentiveSettings
from train.evaluate.linear_probe import STRENGTHS
from train.evaluate.report import Figures
from train.evaluate.zero_shot import TEMPLATES

TASKS = {
    "retrieval": (),
    "zero-shot": (),
    "choices": ("--choices-col", "options"),
    "captions": (),
    "answers": (),
    "classification": (),
    "knn": ("--train", "d"),
    "linear-probe": ("--train", "d"),
    "attentive-probe": ("--train", "d"),
}


def call(*args):
    return CliRunner().invoke(app, ["eval", *map(str, args)])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    build_evaluated(folder, tmp_path_factory.mktemp("scratch"), broken=(9,))
    return str(folder), save_model(tmp_path_factory.mktemp("sft"), "videomae_classifier", classes=NAMES)


def test_help_lists_the_tasks_each_with_an_example():
    assert all(task in call("--help").output for task in TASKS)
    for task in TASKS:
        result = call(task, "--help")
        assert result.exit_code == 0
        assert f"Example: vidloom eval {task}" in result.output
        assert "--model" in result.output
        assert "--json" in result.output


def test_a_table_by_default_and_a_status_that_tells_of_broken_clips(places, tmp_path):
    dataset, model = places
    out = tmp_path / "figures.json"
    result = call(
        "classification", dataset, "--model", model, "--label-col", "action", "--clips", 2, "--workers", 0,
        "--device", "cpu", "--out", out,
    )  # fmt: skip
    assert result.exit_code == console.FALLS_SHORT, result.output
    assert "top1" in result.output
    assert "1 samples could not be used" in result.output
    assert "000000009_00000" in result.output
    told = json.loads(out.read_text())
    assert (told["task"], told["samples"], told["unusable"]) == ("classification", 9, ["000000009_00000"])
    assert told["settings"] == {"precision": "fp32", "label_col": "action", "classes": None, "clips": 2, "crops": 1}
    assert told["metrics"]["views"] == 2
    assert len(told["dataset_digest"]) == 64


def test_figures_are_told_although_they_cannot_be_written(places, tmp_path):
    dataset, model = places
    (tmp_path / "taken").write_text("a file")
    asked = ("knn", dataset, "--train", dataset, "--model", model, "--label-col", "number", "--workers", 0)
    result = call(*asked, "--out", tmp_path / "taken/figures.json")
    assert result.exit_code == console.WRONG_USAGE
    assert "training clips" in result.stdout
    assert "error: cannot write" in result.stderr


def test_a_part_of_a_dataset_stands_in_the_report(places):
    dataset, model = places
    part = ("--where", "number < 2", "--holdout", 0.5, "--holdout-by", "key", "--workers", 0, "--device", "cpu")
    part += ("--ensemble-with", model, "--ensemble-weight", 0.25)
    result = call("knn", dataset, "--train", dataset, "--model", model, "--label-col", "number", "--json", *part)
    told = json.loads(result.output)
    wanted = {"where": "number < 2", "holdout": 0.5, "holdout_by": "key", "holdout_salt": ""}
    wanted |= {"ensemble_with": model, "ensemble_weight": 0.25}
    assert told["settings"].items() >= wanted.items()
    assert 0 < told["samples"] < 6
    assert (
        call("knn", dataset, "--train", dataset, "--model", model, "--where", "nix > 2").exit_code
        == console.WRONG_USAGE
    )


def test_json_is_one_line(places):
    dataset, model = places
    result = call("knn", dataset, "--train", dataset, "--model", model, "--label-col", "number", "--json")
    told = json.loads(result.stdout)
    assert told["metrics"]["training_clips"] == 9
    assert result.stdout.count("\n") == 1


def test_options_reach_the_tasks(monkeypatch, places, tmp_path):
    taken = {}

    def note(name, figures=None):
        def task(*_args, **settings):
            taken[name] = settings
            return figures or Figures({"x": 1.0}, 1)

        return task

    for module, names in {
        "language_tasks": ("retrieval", "zero_shot", "choices", "captions"),
        "answering_task": ("answers",),
        "class_tasks": ("classification",),
        "probing_tasks": ("knn", "linear_probe", "attentive_probe"),
    }.items():
        for name in names:
            monkeypatch.setattr(f"train.evaluate.{module}.{name}", note(name))
    dataset, model = places
    (tmp_path / "lines.txt").write_text("\ufeffsee {}\n\n a {} \n", encoding="utf-8")
    lines, settings = tmp_path / "lines.txt", ["--model", model, "--device", "cpu"]
    for task, more in TASKS.items():
        assert call(task, dataset, *settings, *[dataset if each == "d" else each for each in more]).exit_code == 0
    assert taken["retrieval"] == {"dual": False}
    assert taken["zero_shot"] == {"label": "label", "classes": None, "templates": TEMPLATES}
    assert taken["choices"] == {"columns": ["options"], "answer": "answer"}
    assert taken["answers"] == {"question": "question", "answer": "answer", "vocabulary": None}
    assert taken["captions"]["settings"].kind == "greedy"
    assert taken["classification"] == {"label": "label", "classes": None, "views": ViewConfig()}
    assert taken["knn"] == {"label": "label", "neighbours": 20, "temperature": 0.07}
    assert taken["linear_probe"] == {"label": "label", "strengths": STRENGTHS}
    assert taken["attentive_probe"] == {"label": "label", "settings": AttentiveSettings(), "memory": 16 << 30}
    told = {
        "retrieval": ["--dual"],
        "zero-shot": ["--label-col", "l", "--classes", lines, "--templates", lines],
        "choices": ["--choices-col", "a", "--choices-col", "b", "--answer-col", "c"],
        "captions": ["--beams", 3, "--max-tokens", 5, "--shown", 7],
        "answers": ["--answers", lines, "--question-col", "q", "--answer-col", "a"],
        "linear-probe": ["--train", dataset, "--penalty", 0.5, "--penalty", 2],
        "attentive-probe": ["--train", dataset, "--epochs", 3, "--lr", 0.1, "--seed", 9, "--memory", 0.5],
    }
    for task, more in told.items():
        assert call(task, dataset, *settings, *more).exit_code == 0
    assert taken["retrieval"] == {"dual": True}
    assert taken["zero_shot"] == {"label": "l", "classes": ["see {}", "a {}"], "templates": ["see {}", "a {}"]}
    assert taken["choices"] == {"columns": ["a", "b"], "answer": "c"}
    how = taken["captions"]["settings"]
    assert (how.kind, how.beams, how.max_tokens, taken["captions"]["shown"]) == ("beam", 3, 5, 7)
    assert taken["answers"] == {"question": "q", "answer": "a", "vocabulary": ["see {}", "a {}"]}
    assert taken["linear_probe"]["strengths"] == [0.5, 2.0]
    assert taken["attentive_probe"]["settings"] == AttentiveSettings(epochs=3, lr=0.1, seed=9)
    assert taken["attentive_probe"]["memory"] == 1 << 29


def test_user_faults_are_one_line(places, tmp_path):
    dataset, model = places
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xfa")
    for args, message in [
        (("retrieval", dataset, "--model", model), "is a videomae_classifier, which knows no texts"),
        (("retrieval", dataset, "--model", tmp_path), "is no run"),
        (("retrieval", tmp_path, "--model", model), "is no dataset"),
        (("classification", dataset, "--model", model, "--label-col", "x"), "has no column 'x'"),
        (("classification", dataset, "--model", model, "--classes", tmp_path / "no"), "no"),
        (("classification", dataset, "--model", model, "--classes", tmp_path / "empty.txt"), "no line with text"),
        (("classification", dataset, "--model", model, "--classes", tmp_path / "binary.txt"), "is no UTF-8 text"),
        (
            ("knn", dataset, "--model", model, "--train", dataset, "--temperature", 0, "--label-col", "action"),
            "above 0",
        ),
    ]:
        result = call(*args)
        assert result.exit_code == console.WRONG_USAGE, result.output
        assert "vidloom: error: " in result.stderr
        assert message in result.stderr
        assert [line for line in result.stderr.splitlines() if "error" in line] == result.stderr.splitlines()[-1:]


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), console.INTERRUPTED, "interrupted"),
        (ConnectionError("another rank is gone"), console.FALLS_SHORT, "stopped: another rank is gone"),
        (OSError("no\nroom \x1b"), console.WRONG_USAGE, r"error: no room \x1b"),
    ],
)
def test_how_a_command_ends(monkeypatch, places, error, status, said):
    def fail(*_args, **_settings):
        raise error

    monkeypatch.setattr("train.evaluate.language_tasks.retrieval", fail)
    result = call("retrieval", places[0], "--model", places[1])
    assert result.exit_code == status
    assert f"vidloom: {said}" in result.stderr


def test_only_the_first_rank_tells(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    console.tell(Figures({}, 0), as_json=True, out=str(tmp_path / "x.json"))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "x.json").exists()
    console.say("mind")
    assert capsys.readouterr().err == "vidloom, rank 1: mind\n"


def test_help_waits_for_nothing_heavy():
    program = (
        "import sys\nfrom train.apply.__main__ import app\n"
        "app(['eval', 'retrieval', '--help'], standalone_mode=False)\n"
        "print('heavy:', sorted({'torch', 'nvidia.dali', 'av', 'nltk'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.endswith("heavy: []\n")
