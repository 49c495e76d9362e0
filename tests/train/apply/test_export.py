"""``vidloom export``: what it writes, what it says, and one line for each fault."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from tests.support.saved_runs import save_run
from train.apply.__main__ import app


def export(*args):
    return CliRunner().invoke(app, ["export", *map(str, args)])


def test_a_run_is_exported_and_told_of(tmp_path):
    save_run(tmp_path, "videomae_classifier")
    found = export(tmp_path)
    assert found.exit_code == 0
    first, second = found.stdout.splitlines()
    assert first == f"{tmp_path}/checkpoints/step-00000003: the weights after 3 steps"
    assert second == f"written to {tmp_path}/final: model.safetensors, README.md, data.json"


def test_what_is_asked_for_is_exported(tmp_path):
    save_run(tmp_path, "videomae_classifier", step=2, average={"head.bias": torch.ones(5)})
    save_run(tmp_path, "videomae_classifier", step=4)
    found = export(tmp_path, "--step", 2, "--no-ema", "--out", tmp_path / "mine", "--json")
    report = json.loads(found.stdout)
    assert (report["step"], report["averaged"], report["place"]) == (2, False, f"{tmp_path}/mine")
    assert (tmp_path / "mine" / "data.json").exists()
    assert "the moving average" in export(tmp_path, "--step", 2).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step", "9"], "no checkpoint of step 9"),
        (["--ema"], "no moving average"),
        (["--out", "."], "no export wrote"),
        (["--ensemble-with", "x.safetensors"], "say where, with --out"),
        (["--out", "mine", "--ensemble-with", "x.safetensors"], "x.safetensors"),
        (["--out", "mine", "--ensemble-weight", "0.25"], "name it with --ensemble-with"),
    ],
)
def test_a_fault_is_one_line_and_status_2(tmp_path, options, message, monkeypatch):
    save_run(tmp_path / "run", "videomae_classifier")
    monkeypatch.chdir(tmp_path)
    found = export(tmp_path / "run", *options)
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.splitlines()) == 1
